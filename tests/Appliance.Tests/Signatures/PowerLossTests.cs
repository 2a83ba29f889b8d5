using System.Diagnostics;
using System.Security.Cryptography;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.Hashes;

namespace Vmsweep.Appliance.Tests.Signatures;

/// <summary>The program is killed at any moment of a change-over, again and again.</summary>
[Trait("Category", "Slow")]
public sealed class PowerLossTests
{
    private const int Kills = 24;

    [Fact]
    public void After_each_kill_the_old_bundle_or_the_new_one_is_active_and_whole()
    {
        using var kit = new PublisherKit();
        for (int i = 0; i < 60; i++)
        {
            kit.Rule($"rule r{i} {{ condition: false }}", $"rules/{i}.yar");
        }

        // Some tenths of a second of sorting, which is to be hit too.
        kit.Rule(string.Join('\n', Enumerable.Range(0, 150_000).Select(HashOf)), "known-good/many.txt");
        Offer(kit, 1);
        kit.Install(kit.Bundle(1));
        int changed = 0;
        int kept = 0;
        for (int i = 0; i < Kills; i++)
        {
            long old = Active(kit).Version;
            Offer(kit, old + 1);
            string bundle = kit.Bundle(old + 1);
            Kill(kit, bundle, i);
            (long version, string rule) = Active(kit);
            Assert.True(version == old || version == old + 1, $"kill {i}: version {version} after {old}");
            Assert.Contains($"rule version{version} ", rule, StringComparison.Ordinal);
            changed += version == old ? 0 : 1;
            kept += version == old ? 1 : 0;

            // The next change is not kept from its work by what the kill left.
            if (version == old)
            {
                Assert.Equal(InstallOutcome.Activated, kit.Install(bundle).Outcome);
            }

            Assert.True(kit.Store.List().Count(b => b.Fault.Length == 0) <= 3);
            Assert.All(kit.Store.List(), b => Assert.Empty(b.Fault));
        }

        Assert.True(kept > 0, "no kill came before the change");

        // What the last kill left is cleared away by the next change.
        long last = Active(kit).Version + 1;
        Offer(kit, last);
        Assert.Equal(InstallOutcome.Activated, kit.Install(kit.Bundle(last)).Outcome);
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(kit.State, "signatures/incoming")));
        Assert.Equal(Active(kit).Version - 1, Previous(kit));
        Assert.Equal(Previous(kit), kit.Store.RollBack().Manifest!.Version);
    }

    private static string HashOf(int number) => Convert.ToHexStringLower(SHA256.HashData(BitConverter.GetBytes(number)));

    /// <summary>What changes with each version: a rule, and in both kinds of lists a hash.</summary>
    private static void Offer(PublisherKit kit, long version)
    {
        kit.Rule($"rule version{version} {{ condition: false }}", "rules/version.yar");
        kit.Rule(HashOf(-(int)version), "known-good/version.txt");
        kit.Rule(HashOf(-(int)version), "hashes/version.txt");
    }

    /// <summary>A quarter of the kills come at any time, and each while parts are written, while lists are sorted, and while the bundle is put in its place.</summary>
    private static void Kill(PublisherKit kit, string bundle, int round)
    {
        var random = new Random(round);
        string incoming = Path.Combine(kit.State, "signatures/incoming");
        string bundles = Path.Combine(kit.State, "signatures/bundles");
        int stored = Directory.GetDirectories(bundles).Length;
        var start = new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), ["signatures", "add", bundle, "--state", kit.State]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        switch (round % 4)
        {
            case 0:
                process.WaitForExit(random.Next(2500));
                break;
            case 1:
                SpinWait.SpinUntil(() => process.HasExited || IsFilled(incoming), 30_000);
                process.WaitForExit(random.Next(400));
                break;
            case 2:
                SpinWait.SpinUntil(() => process.HasExited || Sets(incoming), 30_000);
                process.WaitForExit(random.Next(300));
                break;
            default:
                SpinWait.SpinUntil(() => process.HasExited || Directory.GetDirectories(bundles).Length != stored, 30_000);
                process.WaitForExit(random.Next(8));
                break;
        }

        process.Kill();
        process.WaitForExit();
    }

    private static bool IsFilled(string folder)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(folder).Any();
        }
        catch (DirectoryNotFoundException)
        {
            // The program makes it and takes it away while this looks.
            return false;
        }
    }

    private static bool Sets(string folder)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(folder).Count() > 1;
        }
        catch (DirectoryNotFoundException)
        {
            return false;
        }
    }

    private static (long Version, string Rule) Active(PublisherKit kit)
    {
        using OpenBundle active = new BundleStore(Path.Combine(kit.State, "signatures"), TimeProvider.System).OpenActive()!;
        Assert.Empty(kit.Store.Verify(active));
        byte[] own = Convert.FromHexString(HashOf(-(int)active.Manifest.Version));
        foreach ((PartKind kind, HashSetKind set) in ((PartKind, HashSetKind)[])[(PartKind.Hashes, HashSetKind.Bad), (PartKind.KnownGood, HashSetKind.KnownGood)])
        {
            using HashSet compiled = HashSet.Open(active.SetOf(kind)!, set);
            Assert.True(compiled.Contains(own));
        }

        return (active.Manifest.Version, File.ReadAllText(Path.Combine(active.FolderOf(PartKind.Yara)!, "version.yar")));
    }

    private static long Previous(PublisherKit kit) => kit.Store.List().Single(b => b.IsPrevious).Manifest!.Version;
}
