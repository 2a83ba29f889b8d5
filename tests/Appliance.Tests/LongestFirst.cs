using Vmsweep.Appliance.Tests;
using Vmsweep.Appliance.Tests.Hypervisors;
using Vmsweep.Appliance.Tests.Hypervisors.VSphere;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(LongestFirst))]

namespace Vmsweep.Appliance.Tests;

/// <summary>The collections that wait for guests and servers begin first: the others, which keep processors busy, run beside them.</summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    private static readonly string[] Long = [LibvirtCollection.Name, VSphereCollection.Name];

    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection =>
        [.. testCollections.OrderBy(c => Array.IndexOf(Long, c.TestCollectionDisplayName) is >= 0 and var at ? at : Long.Length)];
}
