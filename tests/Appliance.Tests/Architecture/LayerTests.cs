using System.Reflection;
using System.Text.RegularExpressions;
using NetArchTest.Rules;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Scheduler.Jobs;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Tests.Architecture;

/// <summary>Who may reference whom, as the design draws it.</summary>
public sealed class LayerTests
{
    private static readonly Assembly DiskReaders = typeof(IBlockSource).Assembly;
    private static readonly Assembly Signatures = typeof(IEngine).Assembly;
    private static readonly Assembly Scheduler = typeof(ISweepStarter).Assembly;

    [Theory]
    [InlineData("Containers", "Volumes", "FileSystems", "Inspection")]
    [InlineData("Volumes", "Containers", "FileSystems", "Inspection")]
    [InlineData("FileSystems", "Containers", "Volumes", "Inspection")]
    [InlineData("Blocks", "Containers", "Volumes", "FileSystems", "Inspection")]
    public void A_layer_of_DiskReaders_knows_only_what_lies_below(string layer, params string[] forbidden)
    {
        NetArchTest.Rules.TestResult result = Types.InAssembly(DiskReaders)
            .That().ResideInNamespaceStartingWith("Vmsweep.DiskReaders." + layer)
            .Should().NotHaveDependencyOnAny([.. forbidden.Select(f => "Vmsweep.DiskReaders." + f)])
            .GetResult();
        Assert.True(result.IsSuccessful, string.Join(", ", result.FailingTypeNames ?? []));
    }

    [Fact]
    public void Formats_of_one_layer_do_not_reference_each_other()
    {
        foreach (string layer in (string[])["Containers", "Volumes", "FileSystems"])
        {
            string root = "Vmsweep.DiskReaders." + layer + ".";
            string[] formats = [.. DiskReaders.DefinedTypes.Select(t => t.Namespace ?? "").Where(n => n.StartsWith(root, StringComparison.Ordinal)).Select(n => n[root.Length..].Split('.')[0]).Distinct()];
            Assert.NotEmpty(formats);

            // What several formats lie on is no format: one engine reads the RAID levels of all volume managers.
            formats = [.. formats.Where(f => f != "Raid")];
            foreach (string format in formats)
            {
                NetArchTest.Rules.TestResult result = Types.InAssembly(DiskReaders)
                    .That().ResideInNamespaceMatching("^" + Regex.Escape(root + format) + @"(\.|$)")
                    .Should().NotHaveDependencyOnAny([.. formats.Where(f => f != format).Select(f => root + f)])
                    .GetResult();
                Assert.True(result.IsSuccessful, format + ": " + string.Join(", ", result.FailingTypeNames ?? []));
            }
        }
    }

    [Fact]
    public void DiskReaders_references_the_base_library_a_decompressor_and_Argon2_alone() =>
        Assert.All(DiskReaders.GetReferencedAssemblies(), a => Assert.True(a.Name is "ZstdSharp" or "Konscious.Security.Cryptography.Argon2" || a.Name!.StartsWith("System.", StringComparison.Ordinal), a.Name));

    [Fact]
    public void Signatures_references_the_base_library_Ed25519_and_decoders_alone() =>
        Assert.All(Signatures.GetReferencedAssemblies(), a => Assert.True(
            a.Name is "BouncyCastle.Cryptography" or "Microsoft.Win32.Primitives" or "SharpCompress" or "ZstdSharp" or "MimeKit"
                || a.Name!.StartsWith("K4os.", StringComparison.Ordinal) || a.Name.StartsWith("System.", StringComparison.Ordinal),
            a.Name));

    /// <summary>It knows when, and neither disks nor rules: what it starts it knows by its own port.</summary>
    [Fact]
    public void Scheduler_references_Quartz_and_nothing_of_ours() =>
        Assert.All(Scheduler.GetReferencedAssemblies(), a => Assert.True(a.Name is "Quartz" || a.Name!.StartsWith("System.", StringComparison.Ordinal), a.Name));

    [Fact]
    public void Only_the_scheduler_knows_Quartz() =>
        Assert.DoesNotContain(typeof(Vmsweep.Appliance.Pipeline.ScanRun).Assembly.GetReferencedAssemblies(), a => a.Name is "Quartz");

    [Fact]
    public void Blocks_reference_no_package()
    {
        NetArchTest.Rules.TestResult result = Types.InAssembly(DiskReaders)
            .That().ResideInNamespaceStartingWith("Vmsweep.DiskReaders.Blocks")
            .Should().NotHaveDependencyOnAny("ZstdSharp")
            .GetResult();
        Assert.True(result.IsSuccessful, string.Join(", ", result.FailingTypeNames ?? []));
    }

    [Fact]
    public void Only_FileSource_and_the_rule_files_open_files()
    {
        string[] openers = [.. Types.InAssembly(DiskReaders).That().HaveDependencyOnAny("System.IO.File", "System.IO.FileStream", "System.IO.RandomAccess", "System.IO.Directory").GetTypes().Select(t => t.Name)];
        Assert.Equal(["FileSource"], openers);
    }
}
