using Vmsweep.DiskReaders.Tests;
using Vmsweep.DiskReaders.Tests.GuestMemory;
using Vmsweep.DiskReaders.Tests.Volumes.BitLocker;
using Vmsweep.DiskReaders.Tests.Volumes.Lvm2;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(LongestFirst))]

namespace Vmsweep.DiskReaders.Tests;

/// <summary>The classes that take minutes begin first: one that began last would be waited for alone.</summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    private static readonly string[] Long = [typeof(LvmKernelTests).FullName!, typeof(QemuGuestTests).FullName!, typeof(LibvirtGuestTests).FullName!, typeof(WindowsImagesTests).FullName!];

    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection =>
        [.. testCollections.OrderBy(c => Array.FindIndex(Long, l => c.TestCollectionDisplayName.Contains(l, StringComparison.Ordinal)) is >= 0 and var at ? at : Long.Length)];
}
