using System.Globalization;
using Vmsweep.Appliance.Results;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>The room that sightings take in a file.</summary>
public sealed class SightingCostTests : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly SetClock _clock = new(Scans.Start);

    public void Dispose() => _scratch.Dispose();

    /// <summary>
    /// What a sighting costs: VMs from a few images, each with programs of its own, over some nights. The bounds are what the README says; the test output has the numbers.
    /// </summary>
    [Fact]
    [Trait("Category", "Slow")]
    public void A_sighting_costs_little()
    {
        const int Vms = 60;
        const int Own = 150;
        const int OfImage = 6000;
        using (ResultLog log = ResultLog.Open(_scratch["state"], _clock)!)
        {
            for (int night = 0; night < 2; night++)
            {
                for (int vm = 0; vm < Vms; vm++)
                {
                    IEnumerable<string> paths =
                    [
                        .. Enumerable.Range(0, OfImage).Select(i => string.Create(CultureInfo.InvariantCulture, $"v2/Windows/WinSxS/amd64_component_{vm % 3}_{i % 97}/program-{i}-of-{vm % 3}.dll")),
                        .. Enumerable.Range(0, Own).Select(i => string.Create(CultureInfo.InvariantCulture, $"v2/Program Files/Own {vm}/part-{i}-{(i < Own / 10 ? night : 0)}-{vm}.exe")),
                    ];
                    Assert.NotNull(log.Record(Scans.Of($"vm{vm}", (24 * night) + 1).Seeing(paths)));
                }
            }
        }

        string path = _scratch["state/vmsweep.db"];
        long sightings = (long)DamageTests.Execute(path, "SELECT sum(sightings) FROM machine")!;
        long places = (long)DamageTests.Execute(path, "SELECT count(*) FROM place")!;
        long whole = Length();
        DamageTests.Execute(path, "DELETE FROM sighting");
        long ofSightings = whole - (whole = Length());
        DamageTests.Execute(path, "DELETE FROM place");
        long ofPlaces = whole - Length();
        TestContext.Current.SendDiagnosticMessage($"{sightings} sightings: {(double)ofSightings / sightings:0.00} bytes each; {places} places: {(double)ofPlaces / places:0} bytes each");
        Assert.InRange((double)ofSightings / sightings, 0.05, 2);
        Assert.InRange((double)ofPlaces / places, 50, 250);

        long Length()
        {
            DamageTests.Execute(path, "VACUUM");
            DamageTests.Execute(path, "PRAGMA wal_checkpoint(TRUNCATE)");
            return new FileInfo(path).Length;
        }
    }
}
