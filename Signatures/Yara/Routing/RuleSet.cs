using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara.Routing;

/// <summary>Rules that are compiled and scanned together.</summary>
internal sealed class RuleSet : IDisposable
{
    /// <summary>YARA's external variables, each ended by a zero byte, in the order of their bits.</summary>
    public static readonly byte[][] Externals = ["filename\0"u8.ToArray(), "filepath\0"u8.ToArray(), "extension\0"u8.ToArray(), "filetype\0"u8.ToArray(), "owner\0"u8.ToArray()];

    /// <summary>The bit of <c>filetype</c>, which follows from the content.</summary>
    public const int FileTypeBit = 8;

    private readonly Lazy<NativeRules> _rules;

    /// <param name="rules">Of a large collection most sets are for contents that few disks have: they are loaded when one comes.</param>
    public RuleSet(Lazy<NativeRules> rules) => _rules = rules;

    public NativeRules Rules => _rules.Value;

    /// <summary>By index in <see cref="Rules"/>: the rule's place in reports; -1 where it is here only for others to refer to.</summary>
    public required int[] Ordinals { get; init; }

    /// <summary>Which external variables its conditions name.</summary>
    public required int UsedExternals { get; init; }

    public void Dispose()
    {
        if (_rules.IsValueCreated)
        {
            _rules.Value.Dispose();
        }
    }
}

/// <summary>Compiles a set, leaving out what does not compile.</summary>
internal sealed class RuleSetCompiler(RuleProgram program, ICollection<RuleFault> faults)
{
    private static readonly string[] ExternalNames = ["filename", "filepath", "extension", "filetype", "owner"];

    /// <param name="owned">The rules that this set reports. What they refer to comes along.</param>
    public RuleSet? Compile(IReadOnlyCollection<RuleUnit> owned, CancellationToken cancellation)
    {
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            List<(RuleSpace Space, List<RuleUnit> Units)> members = Members([.. owned.Where(u => u.Fault is null)]);
            if (members.Count == 0)
            {
                return null;
            }

            using var compiler = new NativeCompiler();
            foreach (byte[] external in RuleSet.Externals)
            {
                compiler.Define(external);
            }

            if (!Add(compiler, members))
            {
                continue;
            }

            List<RuleUnit> units = [.. members.SelectMany(m => m.Units)];
            using NativeRules fresh = compiler.Finish();
            if (Misread(fresh, units) is { } misread)
            {
                LeaveOut(misread, misread.Line, "not understood: libyara reads other rules out of this text");
                continue;
            }

            HashSet<RuleUnit> mine = [.. owned];
            // Loading what was saved gives buffers of just the size needed.
            return new RuleSet(new Lazy<NativeRules>(NativeRules.Load(fresh.Save())))
            {
                Ordinals = [.. units.Select(u => mine.Contains(u) ? u.Ordinal : -1)],
                UsedExternals = ExternalNames.Index().Where(e => units.Exists(u => u.Names.Contains(e.Item))).Sum(e => 1 << e.Index),
            };
        }
    }

    /// <summary>The rules, the rules they refer to and the global rules of their namespaces, in source order.</summary>
    private List<(RuleSpace Space, List<RuleUnit> Units)> Members(List<RuleUnit> owned)
    {
        HashSet<RuleUnit> members = [];
        var open = new Stack<RuleUnit>(owned);
        while (open.TryPop(out RuleUnit? unit))
        {
            if (members.Add(unit))
            {
                unit.RefersTo.FindAll(u => u.Fault is null).ForEach(open.Push);
            }
        }

        HashSet<string> names = [.. members.Select(m => m.Namespace)];
        foreach (RuleUnit global in program.Spaces.Where(s => names.Contains(s.Name)).SelectMany(s => s.Units).Where(u => u.IsGlobal && u.Fault is null))
        {
            open.Push(global);
        }

        while (open.TryPop(out RuleUnit? unit))
        {
            if (members.Add(unit))
            {
                unit.RefersTo.FindAll(u => u.Fault is null).ForEach(open.Push);
            }
        }

        return
        [
            .. program.Spaces.Where(s => names.Contains(s.Name))
                .Select(s => (s, s.Units.FindAll(members.Contains)))
        ];
    }

    /// <summary>False after leaving out a rule: the compiler is then of no further use.</summary>
    private bool Add(NativeCompiler compiler, List<(RuleSpace Space, List<RuleUnit> Units)> members)
    {
        foreach ((RuleSpace space, List<RuleUnit> units) in members)
        {
            foreach (string module in units.SelectMany(u => u.Modules).Distinct())
            {
                compiler.Add([.. System.Text.Encoding.UTF8.GetBytes($"import \"{module}\""), 0], space.NameZ);
            }

            foreach (RuleUnit unit in units)
            {
                if (unit.RefersTo.Find(u => u.Fault is not null) is { } broken)
                {
                    LeaveOut(unit, unit.Line, $"refers to rule \"{broken.Name}\", which was left out");
                    return false;
                }

                compiler.Messages.Clear();
                bool compiled = compiler.Add(unit.TextZ, space.NameZ);
                foreach (CompilerMessage message in compiler.Messages.Where(m => m.IsWarning))
                {
                    Report(new RuleFault(unit.File, unit.Line + Math.Max(1, message.Line) - 1, unit.Name, message.Message, IsWarning: true));
                }

                if (!compiled)
                {
                    CompilerMessage error = compiler.Messages.Find(m => !m.IsWarning);
                    LeaveOut(unit, unit.Line + Math.Max(1, error.Line) - 1, error.Message ?? "does not compile");
                    return false;
                }
            }
        }

        return true;
    }

    private static RuleUnit? Misread(NativeRules rules, List<RuleUnit> units)
    {
        for (int i = 0; i < units.Count; i++)
        {
            if (i >= rules.Count || rules.NameAt(i) != units[i].Name)
            {
                return units[i];
            }
        }

        return rules.Count == units.Count ? null : units[^1];
    }

    private void LeaveOut(RuleUnit unit, int line, string reason)
    {
        lock (faults)
        {
            if (unit.Fault is null)
            {
                unit.Fault = new RuleFault(unit.File, line, unit.Name, reason, IsWarning: false);
                faults.Add(unit.Fault);
            }
        }
    }

    private void Report(RuleFault fault)
    {
        lock (faults)
        {
            if (!faults.Contains(fault))
            {
                faults.Add(fault);
            }
        }
    }
}
