using System.Security.Cryptography;
using Vmsweep.Golden;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Tests.Archives;

namespace Vmsweep.Signatures.Tests.ClamAv;

/// <summary>What the daemon is trusted to open, it opens.</summary>
public sealed class ClamdOpensTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void What_is_not_given_to_it_member_by_member_it_finds_by_itself()
    {
        Dictionary<string, byte[]> archives = Small.Kinds.ToDictionary(k => k, k => Small.Make(k, _scratch[k]));
        string folder = Path.GetDirectoryName(Tool.Find(ClamdServer.TestFile))!;
        foreach (string file in Directory.GetFiles(folder))
        {
            archives[Path.GetFileName(file)] = File.ReadAllBytes(file);
        }

        // A signature of each member that no other content is part of: only who unpacks it finds it.
        using ClamdServer server = new("AlertExceedsMax yes");
        File.Delete(Path.Combine(server.DatabaseFolder, "t.hdb"));
        HashSet<string> wanted = [Hash(File.ReadAllBytes(ClamdServer.TestFile))];
        foreach (string name in (string[])["program", "text.txt"])
        {
            wanted.Add(Hash(File.ReadAllBytes(Path.Combine(_scratch["zip"], "in", name))));
        }

        File.WriteAllLines(Path.Combine(server.DatabaseFolder, "members.hsb"), wanted.Select(h => $"{h}:*:Member.{h[..8]}:73"));
        server.Start();
        using var engine = new ClamdEngine(new ClamdOptions { Socket = server.Socket, Timeout = TimeSpan.FromMinutes(2) }, "1");
        using IMatcher matcher = engine.CreateMatcher();
        List<string> report = [];
        HashSet<string> seen = [];
        foreach ((string name, byte[] content) in archives)
        {
            Opened opened = Opened.Of(content);
            List<Detection> found = [];
            Assert.Null(matcher.Match(content, default, found, TestContext.Current.CancellationToken));
            foreach (string[] ways in opened.Members.Zip(opened.Ways).Where(m => wanted.Contains(m.First.Sha256)).Select(m => m.Second))
            {
                bool isTrusted = ways.All(engine.Opens);
                seen.UnionWith(isTrusted ? ways : []);
                report.Add($"{(isTrusted ? "trusted" : "given")} {(found.Count > 0 ? "found" : "missed")} {name}: {string.Join(" > ", ways)}");
            }
        }

        Assert.True(!report.Exists(r => r.StartsWith("trusted missed", StringComparison.Ordinal)), string.Join('\n', report));
        Assert.Equal(
            ["7z", "7z:method 303011B", "bzip2", "cab", "chm", "cpio", "gzip", "mail", "ole", "pdf", "szdd", "tar", "tnef", "xz", "zip", "zip:method 12", "zip:method 9"],
            seen.Order(StringComparer.Ordinal));
    }

    private static string Hash(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));
}
