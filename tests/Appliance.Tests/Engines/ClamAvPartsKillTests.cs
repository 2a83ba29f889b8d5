using System.Diagnostics;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Tests.Signatures;
using Vmsweep.Appliance.Updates;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;
using Vmsweep.Signatures.ClamAv;

namespace Vmsweep.Appliance.Tests.Engines;

/// <summary>The program is killed at any moment of a change of ClamAV's parts, again and again, with the real daemon.</summary>
[Trait("Category", "Slow")]
public sealed class ClamAvPartsKillTests : IDisposable
{
    private const int Kills = 9;

    private readonly PublisherKit _kit = new();

    public void Dispose() => _kit.Dispose();

    [Fact]
    public void After_each_kill_no_part_is_half_there_and_the_next_change_makes_good()
    {
        using ClamdServer clamd = new ClamdServer("").Start();
        string configuration = Path.Combine(_kit.State, "vmsweep.json");
        Directory.CreateDirectory(_kit.State);
        File.WriteAllText(configuration, $$"""{ "clamav": { "socket": "{{clamd.Socket}}", "databaseFolder": "{{clamd.DatabaseFolder}}" } }""");
        var parts = new ClamAvParts(new ClamAvSettings(clamd.Socket, clamd.DatabaseFolder), TestContext.Current.CancellationToken) { LoadTime = TimeSpan.FromMinutes(2) };
        List<string> known = [];
        for (int version = 1; version <= 2; version++)
        {
            _kit.Rule("rule r { condition: false }");
            for (int i = 0; i < 8; i++)
            {
                known.Add(string.Concat(Enumerable.Range(0, 2000).Select(n => $"Version{version}.Part{i}.N{n}:0:*:{Convert.ToHexString(BitConverter.GetBytes((version << 24) + (i << 16) + n))}{new string('4', 12)}\n")));
                _kit.Rule(known[^1], $"clamav/{i}.ndb");
            }

            _kit.Install(_kit.Bundle(version));
            Assert.True(parts.Apply(_kit.Store)!.IsLoaded);
        }

        int broken = 0;
        for (int i = 0; i < Kills; i++)
        {
            string[] before = Names(clamd);
            KillRollBack(clamd, configuration, before, i);
            foreach (string file in Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-bundle-*.ndb"))
            {
                Assert.Contains(File.ReadAllText(file), known);
            }

            Assert.All(Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-bundle-*.hsb"), p => Assert.EndsWith("\n", File.ReadAllText(p), StringComparison.Ordinal));
            broken += Names(clamd).Any(n => n.EndsWith(".new", StringComparison.Ordinal)) || ClamdParts.IdsIn(clamd.DatabaseFolder).Count > 1 ? 1 : 0;

            // Whatever was killed: the bundle that is active now is the one that the daemon has after the next look, and alone.
            ClamAvPartsReport report = parts.Apply(_kit.Store)!;
            Assert.True(report.IsLoaded, report.Detail);
            string[] ids = [.. ClamdParts.IdsIn(clamd.DatabaseFolder)];
            Assert.Equal([_kit.Store.ActiveId![..32]], ids);
            Assert.Equal(9, Names(clamd).Length);
            foreach (StoredBundle other in _kit.Store.List().Where(b => b.Id != _kit.Store.ActiveId))
            {
                Assert.False(ClamdParts.IsLoaded(clamd.Socket, other.Id, TestContext.Current.CancellationToken), $"kill {i}");
            }
        }

        Assert.True(broken > 0, "no kill came in the middle of a change");
    }

    private static string[] Names(ClamdServer clamd) => [.. Directory.GetFiles(clamd.DatabaseFolder, "vmsweep-bundle-*").Order(StringComparer.Ordinal)];

    /// <summary>A third of the kills come when the first part is there, a third a little later, a third at any time.</summary>
    private void KillRollBack(ClamdServer clamd, string configuration, string[] before, int round)
    {
        var random = new Random(round);
        var start = new ProcessStartInfo(Path.Combine(RepositoryRoot.Path, "vmsweep"), ["signatures", "rollback", "--state", _kit.State, "--config", configuration]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        if (round % 3 == 2)
        {
            process.WaitForExit(random.Next(1500));
        }
        else
        {
            SpinWait.SpinUntil(() => process.HasExited || !Names(clamd).SequenceEqual(before), 60_000);
            process.WaitForExit(round % 3 == 0 ? 0 : random.Next(30));
        }

        process.Kill();
        process.WaitForExit();
    }
}
