using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Results;

/// <summary>
/// Verdicts in one run: under its rules, and under earlier ones of which is known what was added since. A worker's words are believed no
/// further than they must: it may add verdicts of contents for which it asked and of which nothing was known, and change no other.
/// </summary>
internal sealed class VerdictSession
{
    /// <summary>How many earlier sets of rules are of use at once.</summary>
    public const int MostEarlier = 6;

    /// <summary>Contents that were asked for and whose verdict has not come: beyond so many, verdicts are not taken.</summary>
    private const int MostPending = 1 << 20;

    /// <summary>Findings that one worker may have remembered: some hundred thousand. Clean verdicts cost nothing of it.</summary>
    private const long MostPayloadBytes = 256 << 20;

    private readonly VerdictCache _cache;
    private readonly long _scope;
    private readonly long _basis;
    private readonly byte[] _lists;
    private readonly Dictionary<long, int> _ranks = [];
    private readonly Dictionary<long, int> _plans = [];
    private readonly HashSet<long> _predecessors = [];
    private readonly Dictionary<ContentKey, long> _pending = [];
    private long _payloadBytes;

    private VerdictSession(VerdictCache cache, long scope, Basis present, IReadOnlyList<(Basis Basis, DataPart Added)> earlier, byte[] lists)
    {
        _cache = cache;
        _scope = scope;
        _basis = present.Id;
        _lists = lists;
        _ranks[present.Id] = 0;
        _plans[present.Id] = 0;
        List<DataPart> plans = [default];
        HashSet<UInt128> rules = RuleIds.Unpack(present.Rules);
        foreach ((Basis basis, DataPart added) in earlier.OrderBy(e => e.Added.Length))
        {
            _ranks[basis.Id] = _ranks.Count;
            if (!added.IsEmpty)
            {
                plans.Add(added);
            }

            _plans[basis.Id] = added.IsEmpty ? 0 : plans.Count - 1;
            HashSet<UInt128> before = RuleIds.Unpack(basis.Rules);
            int gone = before.Count(r => !rules.Contains(r));
            if (gone * 10 <= before.Count)
            {
                _predecessors.Add(basis.Id);
            }
        }

        Plans = plans;
    }

    /// <summary>For the worker: what is to be run over content, by the number of the plan that an answer names.</summary>
    public IReadOnlyList<DataPart> Plans { get; }

    /// <summary>Sets of rules under which verdicts are kept, most useful first.</summary>
    public static IReadOnlyList<Basis> Earlier(VerdictCache cache, long scope, byte[] context) => cache.Try(() => cache.Verdicts.Most(scope, context, MostEarlier)) ?? [];

    /// <summary>Null when the store fails.</summary>
    /// <param name="scope">Those who share what they know.</param>
    /// <param name="added">What was added since an earlier set; null when it is not known.</param>
    /// <param name="lists">Digest of the run's hash lists.</param>
    public static VerdictSession? Begin(VerdictCache cache, long scope, byte[] context, byte[] rules, IReadOnlyList<Basis> earlier, Func<Basis, DataPart?> added, byte[] lists) => cache.Try(() =>
    {
        Basis present = cache.Verdicts.Open(scope, context, rules);
        List<(Basis, DataPart)> usable = [];
        foreach (Basis basis in earlier.Where(b => b.Id != present.Id))
        {
            if (added(basis) is { } part)
            {
                usable.Add((basis, part));
            }
        }

        return new VerdictSession(cache, scope, present, usable, lists);
    });

    /// <summary>Those who share what they know: all who say nothing else, or one who keeps what he has to himself.</summary>
    /// <param name="name">Of a tenant that shares with nobody; empty for all others together.</param>
    public static long ScopeOf(string name) => name.Length == 0 ? 0 : BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(name))) | 1;

    /// <summary>Another worker begins, and owes nothing for the one before.</summary>
    public void BeginWorker()
    {
        _pending.Clear();
        _payloadBytes = 0;
    }

    /// <summary>What is known of contents, one for each key.</summary>
    public KnownVerdict[] Find(ReadOnlySpan<byte> bytes)
    {
        var keys = new ContentKey[bytes.Length / ContentKey.Bytes];
        for (int i = 0; i < keys.Length; i++)
        {
            keys[i] = ContentKey.Read(bytes[(i * ContentKey.Bytes)..]);
        }

        var known = new KnownVerdict[keys.Length];
        Array.Fill(known, KnownVerdict.None);
        FoundVerdict[]? found = _cache.Try(() => _cache.Verdicts.Find(_scope, keys, _ranks, _lists));
        for (int i = 0; i < keys.Length; i++)
        {
            FoundVerdict verdict = found?[i] ?? default;
            if (verdict.Payload is not null)
            {
                known[i] = new KnownVerdict(_plans[verdict.Basis], verdict.Payload);
                if (verdict.Basis == _basis)
                {
                    continue;
                }
            }

            long before = verdict.Basis == _basis || _predecessors.Contains(verdict.Basis) ? verdict.Basis : 0;
            if (_pending.Count < MostPending)
            {
                _pending[keys[i]] = before;
            }
        }

        return known;
    }

    /// <summary>Remembers verdicts that were asked for.</summary>
    public void Keep(IEnumerable<(ContentKey Key, byte[] Payload, bool HangsOnHashLists)> verdicts)
    {
        List<StoredVerdict> stored = [];
        foreach ((ContentKey key, byte[] payload, bool hangsOnHashLists) in verdicts)
        {
            if (_pending.Remove(key, out long before) && (_payloadBytes += payload.Length) <= MostPayloadBytes)
            {
                stored.Add(new StoredVerdict(key, payload, before, hangsOnHashLists ? _lists : []));
            }
        }

        if (stored.Count > 0)
        {
            _cache.Try(() =>
            {
                _cache.Verdicts.Keep(_scope, _basis, stored);
                return true;
            });
        }
    }

    public void OnAsk(AskEvent ask) => ask.Answer?.Invoke(VerdictClient.Encode(Find(ask.Keys)));

    public void OnKeep(KeepEvent keep) => Keep(keep.Verdicts.Select(v => (ContentKey.Read(v.Key), v.Payload, v.HangsOnHashLists)));
}
