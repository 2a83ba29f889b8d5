using System.Security.Cryptography;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.GuestMemory;

namespace Vmsweep.DiskReaders.Tests.GuestMemory;

/// <summary>Opens guest memory as tests need it.</summary>
internal sealed class MemoryReading : IDisposable
{
    private readonly List<FileSource> _files;

    public MemoryReading(params string[] paths)
    {
        _files = [.. paths.Select(p => new FileSource(p))];
        Context = new ReadContext(Budget, Gaps);
        Image = MemoryFormats.Open([.. paths.Zip(_files, (p, f) => new MemoryFile(p, f))], Context);
    }

    public ScanBudget Budget { get; } = new(1L << 30);

    public GapList Gaps { get; } = new();

    public ReadContext Context { get; }

    public GuestMemoryImage Image { get; }

    /// <summary>Everything an image holds, as a mutation may have made it.</summary>
    public static void ReadEverything(IReadOnlyList<MemoryFile> files, ReadContext context)
    {
        const long Most = 8 << 20;
        using GuestMemoryImage image = MemoryFormats.Open(files, context);
        byte[] part = new byte[64 << 10];
        long read = 0;
        foreach ((IBlockSource source, long start, long length) in image.Runs.Select(r => (image.Physical, r.Address, r.Length)).Concat(image.Areas.Select(a => (a.Content, 0L, a.Content.Length))))
        {
            for (long at = start; at < start + length && read < Most;)
            {
                long hole = source.HoleLength(at, start + length - at);
                if (hole > 0)
                {
                    at += hole;
                    read++;
                    continue;
                }

                int count = (int)Math.Min(part.Length, start + length - at);
                try
                {
                    source.Read(at, part.AsSpan(0, count));
                }
                catch (DiskFormatException)
                {
                    // One page that cannot be made leaves the others.
                }

                at += count;
                read += count;
            }
        }
    }

    /// <summary>
    /// A sum over physical memory up to an address, without what lies between two others, and where a text stands. Each byte is read once and
    /// none after a later one: packed memory is unpacked no more than it must be.
    /// </summary>
    public (string Sha256, IReadOnlyList<long> Found) SumAndFind(long end, long exceptFrom, long exceptTo, byte[] text)
    {
        const int Step = 1 << 20;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        List<long> found = [];
        byte[] part = new byte[text.Length + Step];
        int kept = 0;
        for (long at = 0; at < end; at += Step)
        {
            int count = (int)Math.Min(Step, end - at);
            Image.Physical.Read(at, part.AsSpan(kept, count));
            ReadOnlySpan<byte> bytes = part.AsSpan(kept, count);
            hash.AppendData(bytes[..(int)Math.Clamp(exceptFrom - at, 0, count)]);
            hash.AppendData(bytes[(int)Math.Clamp(exceptTo - at, 0, count)..]);
            Span<byte> searched = part.AsSpan(0, kept + count);
            for (int i = searched.IndexOf(text), from = 0; i >= 0; i = searched[from..].IndexOf(text))
            {
                found.Add(at - kept + from + i);
                from += i + 1;
            }

            kept = Math.Min(text.Length - 1, kept + count);
            searched[^kept..].CopyTo(part);
        }

        return (Convert.ToHexStringLower(hash.GetHashAndReset()), found);
    }

    /// <summary>Pages here and there, in no order, are those of another image.</summary>
    public void AssertPagesEqual(MemoryReading other, long from, long to)
    {
        var random = new Random(11);
        byte[] expected = new byte[4096];
        byte[] actual = new byte[4096];
        for (int i = 0; i < 40; i++)
        {
            long at = random.NextInt64(from >> 12, to >> 12) << 12;
            other.Image.Physical.Read(at, expected);
            Image.Physical.Read(at, actual);
            Assert.True(expected.AsSpan().SequenceEqual(actual), $"page 0x{at:x}");
        }
    }

    /// <summary>Where a text stands in physical memory.</summary>
    public List<long> Find(ReadOnlySpan<byte> text)
    {
        List<long> found = [];
        byte[] part = new byte[(1 << 20) + text.Length];
        foreach (MemoryRun run in Image.Runs)
        {
            for (long at = run.Address; at < run.End; at += 1 << 20)
            {
                Span<byte> bytes = part.AsSpan(0, (int)Math.Min(part.Length, run.End - at));
                Image.Physical.Read(at, bytes);
                for (int i = bytes.IndexOf(text); i >= 0;)
                {
                    if (!found.Contains(at + i))
                    {
                        found.Add(at + i);
                    }

                    int next = bytes[(i + 1)..].IndexOf(text);
                    i = next < 0 ? -1 : i + 1 + next;
                }
            }
        }

        return found;
    }

    public void Dispose()
    {
        Image.Dispose();
        _files.ForEach(f => f.Dispose());
    }
}
