using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vmsweep.Appliance.Cli;

/// <summary>
/// Where <c>read</c> and <c>cat</c> write. A worker may be given standard output as its own, so that content is not copied through
/// this process; a terminal is not handed out.
/// </summary>
internal sealed partial class ContentOutput : IDisposable
{
    private const int StandardOutput = 1;

    private readonly Stream? _stream;

    /// <param name="file">Of <c>--out</c>; null for standard output.</param>
    /// <exception cref="IOException">The file cannot be made.</exception>
    public ContentOutput(FileInfo? file)
    {
        if (file is not null)
        {
            using SafeFileHandle handle = File.OpenHandle(file.FullName, FileMode.Create, FileAccess.Write);
            if (Duplicate(handle, StandardOutput) < 0)
            {
                throw new IOException($"{file}: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
        else if (!Console.IsOutputRedirected)
        {
            _stream = Console.OpenStandardOutput();
        }
    }

    /// <summary>The worker is to write to standard output itself.</summary>
    public bool IsHandedOut => _stream is null;

    /// <summary>What the worker sends otherwise.</summary>
    public void Write(ReadOnlySpan<byte> bytes) => _stream!.Write(bytes);

    public void Dispose() => _stream?.Dispose();

    [LibraryImport("libc", EntryPoint = "dup2", SetLastError = true)]
    private static partial int Duplicate(SafeFileHandle from, int to);
}
