using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Aged;

/// <summary>Wears a file system as years of use do: a seeded run of thousands of changes over a mount, and then filled.</summary>
internal static class Aging
{
    /// <summary>
    /// <c>age.py FOLDER SEED OPERATIONS FILL_PERCENT [links]</c>; OPERATIONS 0 goes on until it is stopped. Files come, go, move, grow, shrink and
    /// are written over in the middle, with a fsync now and then, so that what is written lies in pieces.
    /// </summary>
    private const string Script = """
        import os, random, sys

        root, seed, operations, fill = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        links = "links" in sys.argv[5:]
        r = random.Random(seed)
        pool = r.randbytes(3 << 20) + b"".join(b"line %d of a text that packs well\n" % i for i in range(40000))
        files, folders, made = [], [root], 0

        def content(most):
            size = int(most * r.random() ** 4)
            at = r.randrange(len(pool) - size)
            return pool[at:at + size]

        def name(folder):
            global made
            made += 1
            tail = "x" * r.choice([0, 0, 0, 10, 60, 150])
            return os.path.join(folder, "%s%d-%d%s" % (r.choice(["f", "file name ", "ü-", "A.B.", "long"]), seed, made, tail))

        def write(path, mode, data, seek=None):
            with open(path, mode) as f:
                if seek is not None:
                    f.seek(seek)
                f.write(data)
                if r.random() < 0.05:
                    f.flush()
                    os.fsync(f.fileno())

        def pick():
            return r.choice(files)

        def forget(path):
            files[files.index(path)] = files[-1]
            files.pop()

        def create(most=300_000):
            path = name(r.choice(folders))
            files.append(path)
            write(path, "wb", content(most))

        def delete():
            path = pick()
            os.unlink(path)
            forget(path)

        def rename():
            path = pick()
            to = name(r.choice(folders)) if r.random() < 0.8 else pick()
            if to != path:
                os.rename(path, to)
                forget(path)
                if to not in files:
                    files.append(to)

        def overwrite():
            path = pick()
            write(path, "r+b", content(60_000), r.randrange(os.path.getsize(path) + 1))

        def append():
            for _ in range(r.randrange(1, 4)):
                write(pick(), "ab", content(20_000))

        def resize():
            path = pick()
            os.truncate(path, int(os.path.getsize(path) * r.random() * 1.3))

        def sparse():
            write(pick(), "r+b", content(9000), r.randrange(2_000_000))

        def folder():
            path = name(r.choice(folders))
            os.mkdir(path)
            folders.append(path)

        def clear():
            path = r.choice(folders[1:] or [None])
            if path is None or any(f.startswith(path + "/") for f in folders):
                return
            for one in [f for f in files if f.startswith(path + "/")]:
                os.unlink(one)
                forget(one)
            for one in os.listdir(path):
                os.unlink(os.path.join(path, one))
            os.rmdir(path)
            folders.remove(path)

        def link():
            path = name(r.choice(folders))
            if r.random() < 0.5:
                os.symlink(r.choice(["target", "t" * 90, "../" * 20 + "far"]), path)
            else:
                os.link(pick(), path)
                files.append(path)

        kinds = [(create, 40), (delete, 22), (rename, 9), (overwrite, 10), (append, 9), (resize, 4), (sparse, 1), (folder, 2), (clear, 1)]
        if links:
            kinds.append((link, 3))
        weighted = [k for k, weight in kinds for _ in range(weight)]

        def free_percent():
            s = os.statvfs(root)
            return 100 * s.f_bavail // s.f_blocks

        def one(kind, *arguments):
            try:
                kind(*arguments)
            except OSError as e:
                if e.errno not in (27, 28):
                    raise
                if len(files) > 20:
                    delete()

        for _ in range(30):
            create()
        done = 0
        while operations == 0 or done < operations:
            one(r.choice(weighted) if len(files) > 20 else create)
            done += 1
            if done % 500 == 0:
                os.sync()
            if free_percent() < 8:
                for _ in range(len(files) // 4):
                    delete()
        if fill:
            # Twice, so that the second time fills the holes between what the first left.
            for turn in range(2):
                grown = 0
                while free_percent() > 100 - fill and grown < 5000:
                    one(create, 2_000_000 if grown % 10 == 0 else 200_000)
                    grown += 1
                if turn == 0:
                    for _ in range(len(files) // 3):
                        delete()
                    os.sync()
        """;

    /// <summary>Writes the script to a folder.</summary>
    /// <returns>Its path.</returns>
    public static string Write(Scratch scratch)
    {
        Tool.Find("python3");
        string path = scratch["age.py"];
        File.WriteAllText(path, Script);
        return path;
    }
}
