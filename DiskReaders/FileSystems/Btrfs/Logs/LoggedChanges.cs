using Vmsweep.DiskReaders.FileSystems.Btrfs.Content;
using Vmsweep.DiskReaders.FileSystems.Btrfs.Walking;

namespace Vmsweep.DiskReaders.FileSystems.Btrfs.Logs;

/// <summary>The inodes of one subvolume that its log changes: they stand in the place of the tree's own.</summary>
internal sealed class LoggedChanges(IReadOnlyDictionary<ulong, LoggedInode> inodes)
{
    public int Count => inodes.Count;

    public bool Covers(ulong inode) => inodes.ContainsKey(inode);

    public FileExtent[]? ExtentsOf(ulong inode) => inodes.TryGetValue(inode, out LoggedInode? logged) ? [.. logged.Extents] : null;

    public byte[]? InlineOf(ulong inode) => inodes.GetValueOrDefault(inode)?.Inline;

    public void AddFolders(FolderTable folders)
    {
        foreach (LoggedInode inode in inodes.Values.Where(i => i is { IsListed: true, Inode.IsFolder: true }))
        {
            folders.Add(inode.Number);
            folders.Name(inode.Number, inode.Names[0].Folder, inode.Names[0].Name);
        }
    }

    public IEnumerable<BtrfsFile> Files(InodeAssembler assembler)
    {
        foreach (LoggedInode inode in inodes.Values.Where(i => i.IsListed))
        {
            assembler.Begin(inode.Number);
            assembler.Set(inode.Inode!.Value, inode.InlineAt);
            foreach (LoggedName name in inode.Names)
            {
                assembler.AddName(name.Folder, name.Name, inode.InlineAt);
            }

            foreach (FileExtent extent in inode.Extents)
            {
                assembler.Add(extent, inode.InlineAt);
            }

            if (inode.Fault is { } fault)
            {
                assembler.Spoil(fault);
            }

            if (assembler.End() is { } file)
            {
                yield return file;
            }
        }
    }
}
