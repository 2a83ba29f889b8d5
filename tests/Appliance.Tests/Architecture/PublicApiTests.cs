using System.Reflection;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Scheduler.Jobs;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Tests.Architecture;

/// <summary>
/// Public means used by another project: what is public stands in a file beside this one, so that a change of it is seen. After a wanted
/// change run the test once with <c>VMSWEEP_ACCEPT_API=1</c>.
/// </summary>
public sealed class PublicApiTests
{
    [Theory]
    [InlineData("DiskReaders")]
    [InlineData("Signatures")]
    [InlineData("Scheduler")]
    public void What_is_public_is_what_was_agreed(string project)
    {
        Assembly assembly = (project switch { "DiskReaders" => typeof(IBlockSource), "Signatures" => typeof(IEngine), _ => typeof(ISweepStarter) }).Assembly;
        string path = Path.Combine(RepositoryRoot.Path, "tests", "Appliance.Tests", "Architecture", $"PublicApi.{project}.txt");
        string now = Describe(assembly);
        if (Environment.GetEnvironmentVariable("VMSWEEP_ACCEPT_API") == "1")
        {
            File.WriteAllText(path, now);
        }

        Assert.Equal(File.ReadAllText(path), now);
    }

    private static string Describe(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(t => t.FullName, StringComparer.Ordinal))
        {
            text.Append(type.FullName).Append('\n');
            IEnumerable<string> members = type
                .GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
                .Where(m => m is not Type && !(m is MethodInfo { IsSpecialName: true }) && !m.Name.Contains('<', StringComparison.Ordinal))
                .Select(m => "    " + m)
                .Where(m => !type.IsEnum || !m.Contains("value__", StringComparison.Ordinal));
            foreach (string member in members.Order(StringComparer.Ordinal))
            {
                text.Append(member).Append('\n');
            }
        }

        return text.ToString();
    }
}
