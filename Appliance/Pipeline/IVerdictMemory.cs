using Vmsweep.Appliance.Results;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>What is known of a content.</summary>
/// <param name="Plan">Which engines are still to be run over it; -1: nothing is known.</param>
/// <param name="Payload">As <see cref="VerdictPayload"/> has it.</param>
internal readonly record struct KnownVerdict(int Plan, byte[] Payload)
{
    public static readonly KnownVerdict None = new(-1, []);
}

/// <summary>Verdicts of earlier scans. Safe for many threads.</summary>
internal interface IVerdictMemory
{
    /// <summary>Asks, and does not wait: the answer comes by calling what is returned, one for each key in its order.</summary>
    Func<KnownVerdict[]> Ask(IReadOnlyList<ContentKey> keys, CancellationToken cancellation);

    /// <summary>Remembers a verdict.</summary>
    /// <param name="hangsOnHashLists">It holds only as long as the hash lists stay the same.</param>
    void Keep(ContentKey key, byte[] payload, bool hangsOnHashLists);
}
