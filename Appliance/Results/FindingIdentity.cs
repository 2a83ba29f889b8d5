using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// What makes two scans' findings in one VM the same: rule and place. Not the content: a log file that holds a marker grows, and is no other finding for it.
/// In memory the place is the process, as nothing stays at its address.
/// </summary>
internal static class FindingIdentity
{
    public const int Bytes = 16;

    public static byte[] Of(FindingReport finding)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Add(hash, finding.Engine);
        Add(hash, finding.Namespace);
        Add(hash, finding.Rule);
        if (finding.Memory is { } place && finding.Path.StartsWith(MemoryScan.Id + "/", StringComparison.Ordinal))
        {
            Add(hash, MemoryScan.Id);
            Add(hash, place.Process);
        }
        else
        {
            Add(hash, finding.Path);
            foreach (string member in finding.Inside)
            {
                Add(hash, member);
            }
        }

        return hash.GetHashAndReset()[..Bytes];
    }

    /// <summary>With its length, so that no two lists of texts are the same bytes.</summary>
    private static void Add(IncrementalHash hash, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        Span<byte> length = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        hash.AppendData(length);
        hash.AppendData(bytes);
    }
}
