using System.Globalization;
using Vmsweep.Golden;
using Vmsweep.Signatures.Archives;

namespace Vmsweep.Signatures.Tests.Archives;

/// <summary>
/// ClamAV's test files: one small program, packed by programs of their time in dozens of ways. In each the program is found as a member, or the file
/// is a gap: never neither.
/// </summary>
public sealed class SampleTests
{
    private const string Folder = "/usr/share/clamav-testfiles";

    public static TheoryData<string, string> Files { get; } = new()
    {
        { "clam.7z", "clam.exe" },
    };

    [Fact]
    public void Dump()
    {
        string program = Content.Sha256OfFile(Folder + "/clam.exe");
        var lines = new List<string>();
        foreach (string f in Directory.GetFiles(Folder).Order())
        {
            Opened o = Opened.Of(File.ReadAllBytes(f));
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(f)}: {(o.Members.Exists(m => m.Sha256 == program) ? "FOUND " + o.Members.Find(m => m.Sha256 == program).Inside : "-")} members {o.Members.Count} gaps {string.Join(" | ", o.Gaps)}"));
        }
        Assert.Fail(string.Join('\n', lines));
    }
}
