namespace Vmsweep.Golden;

/// <summary>A file system in memory that is soon full. Who runs in a mount namespace of its own sees it only when it was there before.</summary>
public sealed class SmallFileSystem : IDisposable
{
    /// <param name="folder">Made when it is not there.</param>
    public SmallFileSystem(string folder, int mebibytes)
    {
        Folder = Directory.CreateDirectory(folder).FullName;
        Tool.Run("mount", "-t", "tmpfs", "-o", FormattableString.Invariant($"size={mebibytes}m,mode=711"), "vmsweep-test", Folder);
    }

    public string Folder { get; }

    public void Dispose() => Tool.Try("umount", null, "--lazy", Folder);
}
