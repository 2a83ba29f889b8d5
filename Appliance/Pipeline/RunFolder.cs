using Vmsweep.Appliance.Leases;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>A private folder for the files that one run hands to its workers; removed with it.</summary>
internal sealed class RunFolder : IDisposable
{
    private readonly HeldFolder _folder = new("run");

    public string File(string name) => _folder.File(name);

    public void Dispose() => _folder.Dispose();
}
