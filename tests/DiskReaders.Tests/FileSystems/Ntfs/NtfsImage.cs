using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ntfs;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ntfs;

/// <summary>Makes volumes with mkntfs and ntfs-3g, and lists them with ntfs-3g and with the reader.</summary>
internal static class NtfsImage
{
    /// <summary>Formats an image and runs a script whose folder is the mounted volume.</summary>
    /// <param name="folder">Where the image <c>ntfs.img</c> and the mount point are made.</param>
    /// <param name="size">As <c>truncate</c> has it.</param>
    /// <param name="format">Options of mkntfs.</param>
    /// <param name="script">Runs in the mounted volume; <c>$S</c> is <paramref name="folder"/>.</param>
    /// <param name="mount">Mount options.</param>
    public static string Make(string folder, string size, string format, string script, string mount = "streams_interface=windows")
    {
        Tool.Find("mkntfs");
        Tool.Find("setfattr");
        string image = Path.Combine(folder, "ntfs.img");
        Tool.Shell($"truncate -s {size} {image}; mkntfs -q -F -f -p 0 -H 0 -S 0 {format} {image} >/dev/null 2>&1", folder);
        Mounted(folder, image, mount, "S=" + folder + "\n" + script);
        return image;
    }

    /// <summary>Runs a script in the volume, mounted with ntfs-3g; returns its output.</summary>
    public static byte[] Mounted(string folder, string image, string mount, string script)
    {
        Tool.Find("ntfs-3g");
        string point = Path.Combine(folder, "mnt");
        Directory.CreateDirectory(point);
        try
        {
            return Tool.RunRaw("bash", folder, "-euo", "pipefail", "-c", $"ntfs-3g -o {mount} {image} {point}; cd {point}; {script}");
        }
        finally
        {
            Tool.Run("umount", point);
        }
    }

    /// <summary>The lines of the contract's listing, as the mounted volume gives them: files and streams.</summary>
    public static SortedSet<string> ListMounted(string folder, string image, bool streams = true)
    {
        byte[] output = Mounted(folder, image, "ro,streams_interface=windows", """
            find . -type f -printf '%s/%P\0' ; printf '\0'
            find . -type f -print0 | xargs -0 -r sha256sum -z ; printf '\0'
            """ + (streams ? """

            python3 - <<'END'
            import hashlib, os, stat, sys
            for folder, folders, files in os.walk(b"."):
                for name in folders + files:
                    path = os.path.join(folder, name)
                    mode = os.lstat(path).st_mode
                    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                        continue
                    try:
                        streams = os.getxattr(path, b"ntfs.streams.list")
                    except OSError:
                        continue
                    for stream in filter(None, streams.split(b"\0")):
                        with open(path + b":" + stream, "rb") as f:
                            content = f.read()
                        sys.stdout.buffer.write(b"%s/%d %s:%s\0" % (hashlib.sha256(content).hexdigest().encode(), len(content), path[2:], stream))
            END
            """ : ""));
        List<List<byte[]>> parts = [[]];
        foreach (Range range in SplitAtZero(output))
        {
            if (output[range].Length == 0)
            {
                parts.Add([]);
            }
            else
            {
                parts[^1].Add(output[range]);
            }
        }

        var sizes = new Dictionary<string, string>();
        foreach (byte[] line in parts[0])
        {
            int slash = Array.IndexOf(line, (byte)'/');
            sizes[GuestName.Escape(line.AsSpan(slash + 1), controls: false)] = Encoding.ASCII.GetString(line, 0, slash);
        }

        var lines = new SortedSet<string>(StringComparer.Ordinal);
        foreach (byte[] line in parts[1])
        {
            // sha256sum: 64 digits, two spaces, "./" and the path.
            string path = GuestName.Escape(line.AsSpan(68), controls: false);
            lines.Add($"{path}\t{sizes[path]}\t{Encoding.ASCII.GetString(line, 0, 64)}");
        }

        foreach (byte[] line in parts.ElementAtOrDefault(2) ?? [])
        {
            int space = Array.IndexOf(line, (byte)' ');
            string[] hash = Encoding.ASCII.GetString(line, 0, space).Split('/');
            lines.Add($"{GuestName.Escape(line.AsSpan(space + 1), controls: false)}\t{hash[1]}\t{hash[0]}");
        }

        return lines;
    }

    /// <summary>The reader's listing in the same form, and what it could not read.</summary>
    public static (SortedSet<string> Lines, IReadOnlyList<CoverageGap> Gaps) List(IBlockSource volume, long budgetBytes = 64 << 20)
    {
        var budget = new ScanBudget(budgetBytes);
        var gaps = new GapList();
        var lines = new SortedSet<string>(StringComparer.Ordinal);
        var format = new NtfsFormat();
        Assert.True(format.Probe(volume) || format.ProbeCopy(volume));
        using (IFileSystem fileSystem = format.Open(volume, new ReadContext(budget, gaps)))
        {
            foreach (GuestFile file in fileSystem.Walk())
            {
                if (file.Kind != GuestFileKind.Regular)
                {
                    continue;
                }

                string hash = Hash(fileSystem, file);
                foreach (GuestLink link in file.Links)
                {
                    Assert.True(lines.Add($"{PathOf(link, file)}\t{file.SizeBytes}\t{hash}"), $"twice: {PathOf(link, file)}");
                }
            }
        }

        Assert.Equal(0, budget.InUse);
        return (lines, gaps.ToList());
    }

    public static (SortedSet<string> Lines, IReadOnlyList<CoverageGap> Gaps) List(string image)
    {
        using var source = new FileSource(image);
        return List(source);
    }

    /// <summary>Everything the walk gives, with its file system still open.</summary>
    public static List<GuestFile> Files(IBlockSource volume, out IReadOnlyList<CoverageGap> gaps)
    {
        var list = new GapList();
        using IFileSystem fileSystem = new NtfsFormat().Open(volume, new ReadContext(new ScanBudget(64 << 20), list));
        List<GuestFile> files = [.. fileSystem.Walk()];
        gaps = list.ToList();
        return files;
    }

    public static string PathOf(GuestLink link, GuestFile file) => GuestName.Escape(link.Path(file.StreamName), controls: false);

    private static string Hash(IFileSystem fileSystem, GuestFile file)
    {
        if (file.Fault is not null)
        {
            return "fault " + file.Fault.Fault;
        }

        try
        {
            using IBlockSource content = fileSystem.OpenContent(file);
            Assert.Equal(file.SizeBytes, content.Length);
            return content.Sha256();
        }
        catch (DiskFormatException e)
        {
            return "error " + e.Message;
        }
    }

    private static IEnumerable<Range> SplitAtZero(byte[] bytes)
    {
        int from = 0;
        for (int at = Array.IndexOf(bytes, (byte)0); at >= 0; at = Array.IndexOf(bytes, (byte)0, from))
        {
            yield return from..at;
            from = at + 1;
        }
    }
}
