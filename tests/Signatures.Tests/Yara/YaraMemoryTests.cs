using System.Runtime.InteropServices;
using System.Text;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Yara;

/// <summary>What other tests allocate meanwhile would be taken for libyara's, so this class runs when no other does.</summary>
[Collection(Alone)]
public sealed partial class YaraMemoryTests
{
    internal const string Alone = "measures the process's memory";

    [Fact]
    public void Ten_thousand_scans_leave_no_memory_behind()
    {
        using YaraRules rules = YaraProgram.Compile("import \"pe\" rule r { strings: $a = /need.e/ condition: $a or filename == \"x\" or pe.number_of_sections > 1 }");
        byte[] content = Encoding.ASCII.GetBytes(new string('n', 5000) + " needle");
        Scan(500);
        long before = NativeBytes();
        Scan(10_000);

        // Matches and scanners are more than 100 bytes each; what the runtime allocates for itself meanwhile is some kilobytes.
        Assert.InRange(NativeBytes() - before, long.MinValue, 1 << 20);

        void Scan(int times)
        {
            for (int i = 0; i < times; i++)
            {
                using IMatcher matcher = rules.CreateMatcher();
                matcher.Match(content, new("x", null, null, null, null), [], CancellationToken.None);
            }
        }
    }

    /// <summary>What malloc has handed out and not got back; the managed heap, which grows as it likes, is not part of it.</summary>
    private static long NativeBytes()
    {
        MallocInfo info = MallocInfo2();
        return (long)(info.InUseBytes + info.MappedBytes);
    }

    [LibraryImport("libc", EntryPoint = "mallinfo2")]
    private static partial MallocInfo MallocInfo2();

    /// <summary>glibc's <c>struct mallinfo2</c>: ten size_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct MallocInfo
    {
        public readonly nuint Arena, FreeChunks, FastFreeChunks, MappedChunks;

        /// <summary><c>hblkhd</c>.</summary>
        public readonly nuint MappedBytes;

        public readonly nuint Unused, FastFreeBytes;

        /// <summary><c>uordblks</c>.</summary>
        public readonly nuint InUseBytes;

        public readonly nuint FreeBytes, TopBytes;
    }
}

[CollectionDefinition(YaraMemoryTests.Alone, DisableParallelization = true)]
public sealed class YaraMemoryCollection;
