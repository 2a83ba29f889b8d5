using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmsweep.Benchmarks.EndToEnd;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Benchmarks.Workload;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.Signatures;

/// <summary>Members of archives in archives: how many are found, and in what time, beside clamscan on the same tree. Every member has a text of its own at its end.</summary>
internal static class ArchiveBenchmark
{
    private const int BesideTheNext = 4;

    /// <summary>Outermost first; each holds the next and some files, and the innermost a small one more.</summary>
    private static readonly string[] Nestings =
    [
        "zip", "7z", "tar", "tgz", "txz", "tbz", "tzst", "cab", "iso", "ar", "cpio", "jar", "eml", "nsis",
        "zip/zip", "tgz/zip", "7z/tar", "iso/zip", "cab/zip", "zip/7z", "ar/txz", "eml/zip", "nsis/zip", "zip/eml",
        "zip/tgz/zip", "7z/iso/tar", "eml/zip/cab", "tzst/tbz/txz", "zip/zip/zip/zip/zip", "tgz/7z/zip/tar/cab", "zip/eml/iso/7z",
    ];

    public static void Run(string work, int copies, int rounds)
    {
        string root = Path.Combine(work, "archives");
        string tree = Path.Combine(root, "tree");
        string image = Path.Combine(root, "archives.raw");
        string rule = Path.Combine(root, "marker.yar");
        string database = Path.Combine(root, "marker.ndb");
        if (!File.Exists(Path.Combine(root, "complete")))
        {
            Make(root, tree, image, copies);
        }

        int[] members = [.. Enumerable.Range(0, Nestings.Length).Select(n => copies * ((BesideTheNext * (Nestings[n].Count(c => c == '/') + 1)) + 1))];
        File.WriteAllLines(rule, Enumerable.Range(0, members.Sum()).Select(m => $"rule {NameOf(m)} {{ strings: $m = \"{Marker(m)}\" condition: $m }}"));
        File.WriteAllLines(database, Enumerable.Range(0, members.Sum()).Select(m => $"{NameOf(m)}:0:*:{Convert.ToHexStringLower(Encoding.ASCII.GetBytes(Marker(m)))}"));
        string ours = Path.Combine(root, "vmsweep.json");
        string without = Path.Combine(root, "without.json");
        string theirs = Path.Combine(root, "clamscan.txt");
        const string Ours = "vmsweep scan, archives opened";
        const string Closed = "vmsweep scan --no-archives";
        const string Theirs = "clamscan -r";
        Rounds costs = Rounds.Run(
        [
            new(Theirs, [tree], () => ClamScan(database, tree, theirs)),
            new(Ours, [image], () => Programs.ScanWith(image, rule, ours)),
            new(Closed, [image], () => Programs.ScanWith(image, rule, without, "--no-archives")),
        ], rounds);
        int files = Directory.GetFiles(tree).Length;
        Console.WriteLine($"\narchives: {files} archives of {Nestings.Length} nestings, {members.Sum()} members, {Text.MiB(new DirectoryInfo(tree).EnumerateFiles().Sum(f => f.Length))}, {rounds} rounds in turns, page cache warm; clamscan has one process and one thread");
        costs.Print(Theirs);
        (string Who, HashSet<string> Found)[] all =
        [
            ("vmsweep", Rules(ours)),
            ("clamscan", [.. File.ReadLines(theirs).Where(l => l.EndsWith(" FOUND", StringComparison.Ordinal)).Select(l => l[(l.LastIndexOf(": ", StringComparison.Ordinal) + 2)..].Split('.', ' ')[0])]),
            ("vmsweep without opening archives (members that are stored as they are)", Rules(without)),
        ];
        foreach ((string who, HashSet<string> found) in all)
        {
            Console.WriteLine($"  {who}: {found.Count} of {members.Sum()} members");
            List<string> missed = [];
            int first = 0;
            for (int nesting = 0; nesting < Nestings.Length; first += members[nesting], nesting++)
            {
                int had = Enumerable.Range(first, members[nesting]).Count(m => found.Contains(NameOf(m)));
                if (had < members[nesting])
                {
                    missed.Add($"{Nestings[nesting]} {members[nesting] - had}");
                }
            }

            Console.WriteLine($"    missed: {(missed.Count == 0 ? "none" : string.Join(", ", missed))}");
        }
    }

    /// <summary>Of a member's rule and of its signature.</summary>
    private static string NameOf(int member) => string.Create(CultureInfo.InvariantCulture, $"Member{member:000000}");

    private static string Marker(int member) => string.Create(CultureInfo.InvariantCulture, $"a text that stands in member {member:000000} alone");

    private static string Name(int nesting, int copy) => string.Create(CultureInfo.InvariantCulture, $"n{nesting:00}-{copy:000}.bin");

    /// <summary>Limits out of the way, as ours are far from what is here.</summary>
    private static Cost ClamScan(string database, string tree, string output) => Measured.Script(
        "clamscan -r -i --allmatch --no-summary -d \"$1\" --max-filesize=2000M --max-scansize=2000M --max-files=0 --max-recursion=30 \"$2\" > \"$3\"", [database, tree, output], 1);

    private static HashSet<string> Rules(string report)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(report));
        return [.. json.RootElement.GetProperty("targets")[0].GetProperty("findings").EnumerateArray().Select(f => f.GetProperty("rule").GetString()!)];
    }

    private static void Make(string root, string tree, string image, int copies)
    {
        foreach (string tool in new[] { "zip", "7z", "gcab", "genisoimage", "cpio", "ar", "makensis", "zstd", "mke2fs", "clamscan", "python3" })
        {
            Tool.Find(tool);
        }

        Directory.CreateDirectory(tree);
        string[] filler = [.. FileSelection.Choose(copies * Nestings.Length * 1_000_000L)];
        int next = 0, member = 0;
        for (int nesting = 0; nesting < Nestings.Length; nesting++)
        {
            for (int copy = 0; copy < copies; copy++)
            {
                string folder = Path.Combine(root, "in");
                Directory.CreateDirectory(folder);
                string[] kinds = Nestings[nesting].Split('/');
                File.WriteAllText(Path.Combine(folder, "small"), Marker(member++));
                for (int level = kinds.Length - 1; level >= 0; level--)
                {
                    for (int i = 0; i < BesideTheNext; i++, next++)
                    {
                        string beside = Path.Combine(folder, $"f{i}");
                        File.Copy(filler[next % filler.Length], beside, overwrite: true);
                        File.SetAttributes(beside, FileAttributes.Normal);
                        File.AppendAllText(beside, Marker(member++));
                    }

                    Measured.Script(Pack, [folder, kinds[level], Path.Combine(root, "out")]);
                    Directory.Delete(folder, recursive: true);
                    Directory.CreateDirectory(folder);
                    File.Move(Path.Combine(root, "out"), Path.Combine(folder, "inner"));
                }

                File.Move(Path.Combine(folder, "inner"), Path.Combine(tree, Name(nesting, copy)));
                Directory.Delete(folder, recursive: true);
            }
        }

        Measured.Script("PATH=$PATH:/usr/sbin:/sbin; rm -f \"$2\"; mke2fs -q -F -t ext4 -m 0 -d \"$1\" \"$2\" $(($(du -sm \"$1\" | cut -f1) * 5 / 4 + 64))M", [tree, image]);
        File.WriteAllText(Path.Combine(root, "complete"), "");
    }

    /// <summary>Folder, kind, archive.</summary>
    private const string Pack =
        """
        cd "$1"; out=$3; rm -f "$out"
        case $2 in
        zip|jar) zip -q -r "$out.zip" . ; mv "$out.zip" "$out" ;;
        7z) 7z a -bd -t7z "$out.7z" . > /dev/null; mv "$out.7z" "$out" ;;
        tar) tar -cf "$out" * ;;
        tgz) tar -cf - * | gzip > "$out" ;;
        txz) tar -cf - * | xz -1 > "$out" ;;
        tbz) tar -cf - * | bzip2 > "$out" ;;
        tzst) tar -cf - * | zstd -q > "$out" ;;
        cab) gcab -c -z -n "$out" * ;;
        iso) genisoimage -quiet -R -o "$out" . ;;
        ar) ar rc "$out" * ;;
        cpio) ls | cpio -o -H newc --quiet > "$out" ;;
        eml) python3 -c 'import email.message as m, os, sys
        e = m.EmailMessage(); e["From"] = "a@example.com"; e["Subject"] = "x"; e.set_content("text")
        for f in sorted(os.listdir(".")): e.add_attachment(open(f, "rb").read(), maintype="application", subtype="octet-stream", filename=f)
        open(sys.argv[1], "wb").write(bytes(e))' "$out" ;;
        nsis) printf '%s\n' 'SetCompressor /SOLID lzma' 'Name t' "OutFile $out" 'Section A' 'SetOutPath $TEMP' "File *" 'SectionEnd' > "$out.nsi"; cp "$out.nsi" ./t.nsi; makensis -V1 -NOCD t.nsi ;;
        esac
        """;
}
