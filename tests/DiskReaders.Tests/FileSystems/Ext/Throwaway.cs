using System.Diagnostics;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.FileSystems.Ext;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.FileSystems.Ext;

public sealed class Throwaway
{
    [Fact]
    public void Corpus()
    {
        foreach (string image in Directory.GetFiles("/tmp/extcorpus", "*.img").Order())
        {
            string id = Path.GetFileNameWithoutExtension(image);
            string listing = $"/work/shared/corpus/listings/{id}.tsv";
            HashSet<string> expected = File.Exists(listing) ? [.. File.ReadAllLines(listing).Where(l => l.StartsWith("v1/", StringComparison.Ordinal))] : [];
            var gaps = new GapList();
            List<string> ours = [];
            using var source = new FileSource(image);
            var f = new ExtFormat();
            string kind = "";
            try
            {
                using IFileSystem fs = f.Open(source, new ReadContext(new ScanBudget(256 << 20), gaps));
                kind = fs.Facts.Kind + " " + string.Join(';', fs.Facts.Notes);
                foreach (GuestFile file in fs.Walk().Where(x => x.Kind == GuestFileKind.Regular))
                {
                    string sha;
                    try { using IBlockSource c = fs.OpenContent(file); sha = c.Sha256(); } catch (DiskFormatException e) { sha = e.Message; }
                    foreach (GuestLink l in file.Links) { ours.Add($"v1/{GuestName.Escape(l.Path(), false)}\t{file.SizeBytes}\t{sha}"); }
                }
            }
            catch (DiskFormatException e) { ours.Add(e.Message); }

            Console.WriteLine($"{id} probe={f.Probe(source)} {kind} expected {expected.Count} ours {ours.Count} missing {expected.Except(ours).Count()} surplus {ours.Except(expected).Count()} gaps {gaps.Count}");
            foreach (string m in expected.Except(ours).Take(3)) { Console.WriteLine("   - " + m); }
            foreach (string m in ours.Except(expected).Take(3)) { Console.WriteLine("   + " + m); }
            foreach (CoverageGap g in gaps.ToList().Take(4)) { Console.WriteLine("   ! " + g); }
        }
    }

    [Fact]
    public void Speed()
    {
        using var source = new FileSource(Environment.GetEnvironmentVariable("EXT_IMAGE")!);
        var budget = new ScanBudget(400 << 20);
        var gaps = new GapList();
        for (int round = 0; round < 3; round++)
        {
            long t = Stopwatch.GetTimestamp();
            using IFileSystem fs = new ExtFormat().Open(source, new ReadContext(budget, gaps));
            List<GuestFile> files = [];
            long most = 0;
            foreach (GuestFile f in fs.Walk()) { files.Add(f); most = Math.Max(most, budget.InUse); }
            double walk = Stopwatch.GetElapsedTime(t).TotalSeconds;
            long mem = GC.GetTotalMemory(true);
            Console.WriteLine($"walk {files.Count} in {walk:F2}s, rented at most {most >> 20} MiB, managed live {mem >> 20} MiB, peak working set {Process.GetCurrentProcess().PeakWorkingSet64 >> 20} MiB, gaps {gaps.Count}");
            t = Stopwatch.GetTimestamp();
            long bytes = 0;
            byte[] buffer = new byte[1 << 20];
            foreach (GuestFile f in files.Where(f => f.Kind == GuestFileKind.Regular && f.Fault is null).OrderBy(f => f.FirstByte))
            {
                using IBlockSource c = fs.OpenContent(f);
                for (long at = 0; at < c.Length; at += buffer.Length) { Span<byte> p = buffer.AsSpan(0, (int)Math.Min(buffer.Length, c.Length - at)); c.Read(at, p); bytes += p.Length; }
            }
            double s = Stopwatch.GetElapsedTime(t).TotalSeconds;
            Console.WriteLine($"content {bytes >> 20} MiB in {s:F2}s = {(bytes >> 20) / s:F0} MiB/s");
        }
        Assert.Equal(0, budget.InUse);
    }
}
