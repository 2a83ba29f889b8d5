using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Yara;

/// <summary>A <c>YR_SCANNER</c> over one set of rules, for one thread.</summary>
internal sealed unsafe class NativeScanner : IDisposable
{
    private readonly NativeRules _rules;
    private GCHandle _self;
    private nint _scanner;
    private List<(int Ordinal, Detection Detection)> _found = [];
    private int[]? _ordinals;
    private int _mostMatches;
    private MatchFault? _fault;
    private CancellationToken _cancellation;

    public NativeScanner(NativeRules rules)
    {
        _rules = rules;
        bool held = false;
        rules.DangerousAddRef(ref held);
        _scanner = rules.NewScanner();
        _self = GCHandle.Alloc(this);
        LibYara.ScannerSetFlags(_scanner, LibYara.ScanNoTryCatch | LibYara.ScanReportMatching);
        LibYara.ScannerSetCallback(_scanner, &Receive, GCHandle.ToIntPtr(_self));
    }

    /// <summary>Sets an external variable that the compiler knew; both end with a zero byte.</summary>
    public void Define(ReadOnlySpan<byte> identifierZ, ReadOnlySpan<byte> valueZ)
    {
        fixed (byte* name = identifierZ, value = valueZ)
        {
            LibYara.Check(LibYara.ScannerDefineString(_scanner, name, value), "yr_scanner_define_string_variable");
        }
    }

    /// <summary>Scans content.</summary>
    /// <param name="seconds">The time this may take.</param>
    /// <param name="mostMatches">Positions kept of one string.</param>
    /// <param name="ordinals">By the rule's index its place among all rules, -1 where it is not to be reported; null: all are.</param>
    public MatchFault? Scan(
        ReadOnlySpan<byte> content,
        int seconds,
        int mostMatches,
        List<(int Ordinal, Detection Detection)> found,
        int[]? ordinals = null,
        CancellationToken cancellation = default)
    {
        _found = found;
        _ordinals = ordinals;
        _mostMatches = mostMatches;
        _fault = null;
        _cancellation = cancellation;
        byte none = 0;
        fixed (byte* bytes = content)
        {
            YrLayout.ForgetEntryPoint((byte*)_scanner);
            LibYara.ScannerSetTimeout(_scanner, Math.Max(1, seconds));
            int result = LibYara.ScannerScanMem(_scanner, bytes is null ? &none : bytes, (nuint)content.Length);
            cancellation.ThrowIfCancellationRequested();
            return result == LibYara.ErrorSuccess ? _fault : FaultOf(result);
        }
    }

    public void Dispose()
    {
        if (_scanner != 0)
        {
            LibYara.ScannerDestroy(_scanner);
            _scanner = 0;
            _self.Free();
            _rules.DangerousRelease();
        }
    }

    private MatchFault FaultOf(int result)
    {
        byte* rule = LibYara.ScannerLastErrorRule(_scanner);
        MatchFaultKind kind = result switch
        {
            LibYara.ErrorScanTimeout => MatchFaultKind.Timeout,
            LibYara.ErrorTooManyMatches or LibYara.ErrorTooManyReFibers or LibYara.ErrorExecStackOverflow or LibYara.ErrorInsufficientMemory => MatchFaultKind.Limit,
            _ => MatchFaultKind.Engine,
        };
        return new MatchFault(kind, YaraRules.EngineName, rule is null ? "" : YrLayout.RuleName(rule), LibYara.Describe(result));
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Receive(nint context, int message, byte* data, nint userData)
    {
        var scanner = (NativeScanner)GCHandle.FromIntPtr(userData).Target!;
        try
        {
            if (scanner._cancellation.IsCancellationRequested)
            {
                return LibYara.CallbackAbort;
            }

            if (message == LibYara.CallbackRuleMatching)
            {
                scanner.Add((byte*)context, data);
            }
            else if (message == LibYara.CallbackTooManyMatches)
            {
                // libyara goes on without this string, as the yara program does with a warning; the rule is then not decided.
                scanner._fault ??= new MatchFault(MatchFaultKind.Limit, YaraRules.EngineName, "", $"string {YrLayout.StringId(data)} matches too often");
            }

            return LibYara.CallbackContinue;
        }
        catch (Exception e)
        {
            // No exception may cross libyara.
            scanner._fault = new MatchFault(MatchFaultKind.Engine, YaraRules.EngineName, "", e.Message);
            return LibYara.CallbackAbort;
        }
    }

    private void Add(byte* context, byte* rule)
    {
        int index = _rules.IndexOf(rule);
        int ordinal = _ordinals is null ? index : _ordinals[index];
        if (ordinal < 0)
        {
            return;
        }

        List<string> tags = [];
        for (byte* tag = YrLayout.RuleTags(rule); tag is not null && *tag != 0;)
        {
            string text = YrLayout.Text(tag);
            tags.Add(text);
            tag += MemoryMarshal.CreateReadOnlySpanFromNullTerminated(tag).Length + 1;
        }

        List<KeyValuePair<string, MetaValue>> meta = [];
        for (byte* m = YrLayout.RuleMetas(rule); m is not null; m = YrLayout.MetaIsLast(m) ? null : m + YrLayout.MetaSize)
        {
            MetaValue value = YrLayout.MetaIsText(m) ? new MetaValue(YrLayout.MetaText(m))
                : YrLayout.MetaIsNumber(m) ? new MetaValue(YrLayout.MetaNumber(m))
                : new MetaValue(YrLayout.MetaNumber(m) != 0);
            meta.Add(new(YrLayout.MetaKey(m), value));
        }

        List<StringMatch> matches = [];
        long leftOut = 0;
        byte* lists = YrLayout.ScannerMatches(context);
        for (byte* s = YrLayout.RuleStrings(rule); s is not null; s = (YrLayout.StringFlags(s) & YrLayout.StringFlagLastInRule) != 0 ? null : s + YrLayout.StringSize)
        {
            int kept = 0;
            string? id = null;
            for (byte* m = YrLayout.MatchesHead(lists + ((long)YrLayout.StringIndex(s) * YrLayout.MatchesSize)); m is not null; m = YrLayout.MatchNext(m))
            {
                if (YrLayout.MatchIsPrivate(m))
                {
                    continue;
                }

                if (kept++ < _mostMatches)
                {
                    matches.Add(new StringMatch(id ??= YrLayout.StringId(s), YrLayout.MatchBase(m) + YrLayout.MatchOffset(m), YrLayout.MatchLength(m)));
                }
                else
                {
                    leftOut++;
                }
            }
        }

        _found.Add((ordinal, new Detection(
            YaraRules.EngineName, YrLayout.RuleName(rule), YrLayout.RuleNamespace(rule), tags, meta, Severities.Of(meta), matches, leftOut)));
    }
}
