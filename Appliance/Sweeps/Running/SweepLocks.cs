using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Appliance.Sweeps.Running;

/// <summary>
/// What runs in which process: a file is locked for as long as its owner lives, and the kernel takes the lock off whatever ends it. The files stay: to remove one that another
/// process has just opened would give the same lock to two.
/// </summary>
internal sealed class SweepLocks(string folder)
{
    /// <summary>Who only looks whether a sweep runs holds its lock for that moment.</summary>
    private const int Attempts = 20;

    /// <summary>A sweep's name, for its runs.</summary>
    public IDisposable? TryTakeSweep(string sweep)
    {
        for (int i = 1; ; i++)
        {
            if (TryTake("sweep\n" + sweep) is { } taken)
            {
                return taken;
            }

            if (i == Attempts)
            {
                return null;
            }

            Thread.Sleep(20);
        }
    }

    /// <summary>Whoever starts sweeps when they are due.</summary>
    public IDisposable? TryTakeService() => TryTake("service");

    /// <summary>A VM, over all sweeps.</summary>
    public IDisposable? TryTakeVm(string key) => TryTake("vm\n" + key);

    public bool IsRunning(string sweep)
    {
        using IDisposable? taken = TryTake("sweep\n" + sweep);
        return taken is null;
    }

    private FileStream? TryTake(string name)
    {
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string path = Path.Combine(folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name)).AsSpan(0, 16)) + ".held");
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (File.Exists(path))
        {
            return null;
        }
    }
}
