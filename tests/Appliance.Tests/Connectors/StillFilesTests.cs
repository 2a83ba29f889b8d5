using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Connectors.Views;
using Vmsweep.Appliance.Reports;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Connectors;

public sealed class StillFilesTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("disk.raw")]
    [InlineData("link.raw")]
    public void What_is_written_to_an_image_is_seen_behind_a_link_too(string name)
    {
        File.WriteAllText(_scratch["disk.raw"], "before");
        File.CreateSymbolicLink(_scratch["link.raw"], _scratch["disk.raw"]);
        StillFiles files = Of(_scratch[name]);
        Assert.Null(files.Change());
        File.AppendAllText(_scratch["disk.raw"], "after");
        Assert.Contains(name, files.Change(), StringComparison.Ordinal);
    }

    [Fact]
    public void Links_that_come_to_lie_in_a_circle_are_a_change()
    {
        File.WriteAllText(_scratch["disk.raw"], "before");
        StillFiles files = Of(_scratch["disk.raw"]);
        File.Delete(_scratch["disk.raw"]);
        File.CreateSymbolicLink(_scratch["disk.raw"], _scratch["other.raw"]);
        File.CreateSymbolicLink(_scratch["other.raw"], _scratch["disk.raw"]);
        Assert.NotNull(files.Change());
    }

    [Fact]
    public void One_that_is_gone_before_the_first_look_is_not_taken_for_one_that_stood_still() =>
        Assert.Contains("cannot be looked at", Of(_scratch["gone.raw"]).Change(), StringComparison.Ordinal);

    private static StillFiles Of(string path) =>
        new(new Vm("vm", new VmReport("id", "vm", "off", ""), [new VmDisk(path, new ChainPlan("raw", [new PlannedFile(0, path, path)], []), [])], []));
}
