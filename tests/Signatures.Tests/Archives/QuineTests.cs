using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>Archives without end.</summary>
public sealed class QuineTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_gzip_that_unpacks_to_itself_ends_at_each_budget()
    {
        byte[] quine = GzipQuine.Make();
        File.WriteAllBytes(_scratch["q.gz"], quine);
        Assert.Equal(quine, Tool.RunRaw("gzip", _scratch.Folder, "-dc", "q.gz"));
        Opened opened = Opened.Of(quine, keep: true);
        Assert.Equal(16, opened.Members.Count);
        Assert.All(opened.Contents.Values, c => Assert.Equal(quine, c));
        Assert.Equal((ArchiveFault.Limit, "archive depth"), opened.Gaps.Select(g => (g.Fault, g.Structure)).Single());
        Assert.Equal("archive members", Assert.Single(Opened.Of(quine, new ArchiveLimits { Depth = int.MaxValue, Members = 500 }).Gaps).Structure);
        Assert.Equal("archive bytes", Assert.Single(Opened.Of(quine, new ArchiveLimits { Depth = int.MaxValue, Bytes = 20_000 }).Gaps).Structure);
    }
}
