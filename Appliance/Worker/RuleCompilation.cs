using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Hashes;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>Compiles the rules of a run and checks its hash lists, once, for all its workers.</summary>
internal static class RuleCompilation
{
    /// <exception cref="JobFailedException">There is nothing to match with, or with strict rules something is left out.</exception>
    public static void Run(CompileJob job, EventWriter writer)
    {
        List<RuleFaultReport> faults = [];
        List<EngineReport> engines = [];
        using RuleParts? rules = job.Builtin || job.Sources.Count > 0 ? Compile(job, faults) : null;
        if (rules is not null)
        {
            engines.Add(ReportOf(rules.Compiler.Facts));
        }

        if (job.HashLists.Count > 0)
        {
            engines.Add(Check(job.HashLists, faults));
        }

        if (job.Strict && faults.Count > 0)
        {
            throw new JobFailedException(Text(faults));
        }

        foreach (EngineReport engine in engines.Where(e => e.Rules == 0))
        {
            throw new JobFailedException(engine.Name == YaraRules.EngineName
                ? faults.Count > 0 ? "no rule compiles:\n" + Text(faults) : "there is no rule in what --rules names"
                : "there is no hash in what --hashes names\n" + Text(faults));
        }

        using var data = new DataStream(writer);
        writer.Send(new CompiledEvent(engines, faults, rules?.Write(data, job.Decided)));
    }

    private static RuleParts Compile(CompileJob job, List<RuleFaultReport> faults)
    {
        List<RuleFault> found = [];
        List<RuleFile> files = [.. RuleSources.Read(job.Sources, found)];
        if (job.Builtin)
        {
            files.AddRange(RuleSources.Builtin());
        }

        try
        {
            RuleParts rules = RuleParts.Compile(RuleCompiler.Read(files, new YaraOptions(), found), job.Compiled);
            faults.AddRange(found.Where(f => !f.IsWarning).Select(f => new RuleFaultReport(f.File, f.Line, f.Rule.Length > 0 ? $"rule {f.Rule}: {f.Message}" : f.Message)));
            return rules;
        }
        catch (YaraException e)
        {
            throw new JobFailedException(e.Message);
        }
    }

    private static EngineReport Check(IReadOnlyList<string> lists, List<RuleFaultReport> faults)
    {
        List<HashFault> found = [];
        HashList list = HashList.Read(lists, found);
        faults.AddRange(found.Select(f => new RuleFaultReport(f.File, f.Line, f.Message)));
        return ReportOf(list.Facts);
    }

    private static EngineReport ReportOf(EngineFacts facts) => new(facts.Name, facts.Version, facts.Rules, facts.Bundle);

    private static string Text(List<RuleFaultReport> faults) => string.Join('\n', faults.Select(f => $"{f.File}:{f.Line}: {f.Message}"));
}
