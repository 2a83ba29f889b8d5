using System.Text.RegularExpressions;
using Serilog;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Leases;

/// <summary>
/// A private folder for temporary files of this process, removed with it. A file in it is locked for as long as its owner lives, and the kernel takes the lock off whatever ends the owner:
/// the next process of the account that makes such a folder removes those that nobody holds.
/// </summary>
internal sealed partial class HeldFolder : IDisposable
{
    private const string LockName = ".held";
    private static readonly Lazy<int> Left = new(() => RemoveLeft(Path.GetTempPath()));

    private readonly DirectoryInfo _folder;
    private readonly FileStream _held;

    /// <param name="kind">Part of its name, of small letters: what it is for.</param>
    public HeldFolder(string kind)
    {
        _ = Left.Value;
        _folder = Directory.CreateTempSubdirectory($"vmsweep-{kind}-");
        _held = new FileStream(Path.Combine(_folder.FullName, LockName), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
    }

    public string File(string name) => Path.Combine(_folder.FullName, name);

    public void Dispose()
    {
        try
        {
            _folder.Delete(recursive: true);
        }
        catch (IOException)
        {
            // Somebody who is just ending may still make files in it; the next process removes it.
        }

        _held.Dispose();
    }

    /// <summary>Removes folders of this account that a kill has left in a folder for temporary files. What is not known for certain to be one stays, and so does what links lead to.</summary>
    /// <returns>How many.</returns>
    internal static int RemoveLeft(string parent)
    {
        int removed = 0;
        try
        {
            if (!HostFile.IsSafeToShare(parent))
            {
                // Whoever may rename what lies there could put something else in its place.
                return 0;
            }

            foreach (string folder in Directory.EnumerateDirectories(parent, "vmsweep-*").Where(f => Name().IsMatch(Path.GetFileName(f))))
            {
                removed += HostFile.IsPrivateFolder(folder) && TryRemove(folder) ? 1 : 0;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Log.Debug("{Folder} is not looked through for what was left: {Reason}", parent, e.Message);
        }

        return removed;
    }

    private static bool TryRemove(string folder)
    {
        string path = Path.Combine(folder, LockName);
        if (HostFile.KindOf(path) != HostFileKind.Regular)
        {
            // Its owner may be about to make it.
            return false;
        }

        try
        {
            using var held = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            Directory.Delete(folder, recursive: true);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is held, or another process removes it.
            return false;
        }
    }

    [GeneratedRegex("^vmsweep-[a-z]+-[A-Za-z0-9]{6}$")]
    private static partial Regex Name();
}
