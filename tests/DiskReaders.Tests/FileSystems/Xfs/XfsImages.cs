using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Xfs;

/// <summary>Images that mkfs.xfs and the kernel make. <c>--unsupported</c> lets mkfs make small ones.</summary>
internal static class XfsImages
{
    /// <summary>A little of everything, for images that are damaged thousands of times.</summary>
    public const string SmallTree = """
        mkdir -p a/b many; printf tiny > tiny; head -c 3000 /dev/urandom > large; ln tiny a/hard; ln -s short link; ln -s "$(printf 'y%.0s' $(seq 1 900))" long; mkfifo fifo
        for i in $(seq 1 90); do : > "many/a name of some length $i"; done
        for i in $(seq 1 60); do printf $i | dd of=pieces bs=1024 count=1 seek=$((i*2)) conv=notrunc status=none; done
        truncate -s 9000000 sparse; printf mid | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none
        """;

    /// <summary>Regular, sparse, empty, nested, linked, odd names: what every layout is tried with. Run in the folder to be filled.</summary>
    public const string Sample = """
        mkdir -p a/b/c empty many
        head -c 3000000 /dev/urandom > large
        printf tiny > tiny; : > zero; head -c 100 /dev/urandom > hundred
        truncate -s 70000000 sparse; printf end | dd of=sparse bs=1 seek=69999990 conv=notrunc status=none; printf mid | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none
        for i in $(seq 1 700); do printf "file $i" > "many/a rather long name to fill the folder blocks $i"; done
        ln tiny a/b/hard; ln tiny hard2
        ln -s short link; ln -s "$(printf 'x%.0s' $(seq 1 150))" link150; ln -s "$(printf 'y%.0s' $(seq 1 1000))" linklong
        mkfifo fifo; mknod null c 1 3; mknod disk b 8 0
        printf bytes > "$(printf 'bad\377\376\001\n\t name')"; printf dots > ...; printf utf > ünïcode
        mkdir -p deep/$(printf 'd/%.0s' $(seq 1 60)); printf deep > deep/$(printf 'd/%.0s' $(seq 1 60))f
        mkdir one two; printf x > one/x; printf y > two/y
        """;

    /// <summary>What only a mounted XFS can be given: fragments, unwritten extents, shared ones, attributes beside the data.</summary>
    public const string Mounted = """
        for i in $(seq 1 300); do dd if=/dev/urandom of=pieces bs=4096 count=1 seek=$((i*2)) conv=notrunc status=none; done
        fallocate -l 500000 unwritten; printf start | dd of=unwritten conv=notrunc status=none; printf far | dd of=unwritten bs=1 seek=300000 conv=notrunc status=none
        printf short > beyond; fallocate -n -l 5000000 beyond; printf x >> beyond
        head -c 200000 /dev/urandom > punched; fallocate -p -o 40000 -l 60000 punched
        head -c 400000 /dev/urandom > original; cp --reflink=auto original clone; printf changed | dd of=clone bs=1 seek=100000 conv=notrunc status=none
        printf attr > attributes; setfattr -n user.large -v "$(head -c 900 /dev/zero | tr '\0' a)" attributes; setfattr -n user.small -v b link150 2>/dev/null || true
        for i in $(seq 1 2 700); do rm "many/a rather long name to fill the folder blocks $i"; done
        for i in $(seq 1 90); do mv "many/a rather long name to fill the folder blocks $((i*2))" many/renamed$i; done
        mkdir gone; for i in $(seq 1 200); do : > gone/$i; done; rm -r gone
        """;

    /// <summary>Makes <c>image</c> and fills it through the kernel's mount.</summary>
    public static void Make(Scratch scratch, string options, string size = "96M", string more = "")
    {
        Tool.Shell($"truncate -s {size} image; mkfs.xfs --unsupported -q -f {options} image; mkdir -p mnt; mount -o loop image mnt; trap 'cd {scratch.Folder}; umount mnt' EXIT\ncd mnt\n{Sample}\n{Mounted}\n{more}", scratch.Folder);
    }

    /// <summary>Makes <c>image</c> from the folder <c>tree</c> without mounting it, as mkfs's prototype files do.</summary>
    public static void MakeFromPrototype(Scratch scratch, string options, string size = "96M")
    {
        Tool.Shell($"mkdir tree; cd tree\n{PrototypeSample}", scratch.Folder);
        if (!options.Contains("crc=0", StringComparison.Ordinal))
        {
            // On version 5 this mkfs leaves out the header that a long target needs, so that no kernel reads it.
            File.Delete(Path.Combine(scratch["tree"], "linklong"));
        }

        File.WriteAllText(scratch["proto"], $"/none\n0 0\nd--755 0 0\n{Prototype(scratch["tree"])}$\n");
        Tool.Shell($"truncate -s {size} image; mkfs.xfs --unsupported -q -f {options} -p proto image", scratch.Folder);
    }

    private const string PrototypeSample = """
        mkdir -p a/b/c empty many
        head -c 3000000 /dev/urandom > large
        printf tiny > tiny; head -c 100 /dev/urandom > hundred
        for i in $(seq 1 900); do printf "file $i" > "many/a-rather-long-name-to-fill-the-folder-blocks-$i"; done
        for i in $(seq 1 90); do printf "file $i" > "a/name-$i"; done
        ln -s short link; ln -s "$(printf 'x%.0s' $(seq 1 150))" link150; ln -s "$(printf 'y%.0s' $(seq 1 900))" linklong
        mkfifo fifo; mknod null c 1 3; mknod disk b 8 0
        mkdir -p deep/$(printf 'd/%.0s' $(seq 1 60)); printf deep > deep/$(printf 'd/%.0s' $(seq 1 60))f
        """;

    private static string Prototype(string folder)
    {
        var text = new System.Text.StringBuilder();
        foreach (string path in Directory.EnumerateFileSystemEntries(folder).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(path);
            var info = new FileInfo(path);
            _ = info switch
            {
                { LinkTarget: { } target } => text.Append($"{name} l--777 0 0 {target}\n"),
                _ when Directory.Exists(path) => text.Append($"{name} d--755 0 0\n{Prototype(path)}$\n"),
                _ when name == "fifo" => text.Append($"{name} p--644 0 0\n"),
                _ when name == "null" => text.Append($"{name} c--644 0 0 1 3\n"),
                _ when name == "disk" => text.Append($"{name} b--644 0 0 8 0\n"),
                _ => text.Append($"{name} ---644 0 0 {path}\n"),
            };
        }

        return text.ToString();
    }
}
