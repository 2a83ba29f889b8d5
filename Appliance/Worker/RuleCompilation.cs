using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>Compiles the rules of a run, once, for all its workers.</summary>
internal static class RuleCompilation
{
    /// <exception cref="JobFailedException">There is nothing to match with, or with strict rules something is left out.</exception>
    public static void Run(CompileJob job, EventWriter writer)
    {
        List<RuleFaultReport> faults = [];
        RuleParts rules;
        try
        {
            rules = Compile(job, faults);
        }
        catch (YaraException e)
        {
            // Whether a scan makes sense without this engine is the supervisor's to say.
            writer.Send(new CompiledEvent([new EngineReport(YaraRules.EngineName, EngineReport.Unknown, 0, "") { Fault = e.Message }], []));
            return;
        }

        using (rules)
        {
            if (job.Strict && faults.Count > 0)
            {
                throw new JobFailedException(RuleFaultReport.Text(faults));
            }

            if (rules.Compiler.Facts.Rules == 0)
            {
                throw new JobFailedException(faults.Count > 0 ? "no rule compiles:\n" + RuleFaultReport.Text(faults) : "there is no rule in what --rules names");
            }

            using var data = new DataStream(writer);
            writer.Send(new CompiledEvent([EngineReport.Of(rules.Compiler.Facts)], faults, rules.Write(data, job.Decided)));
        }
    }

    private static RuleParts Compile(CompileJob job, List<RuleFaultReport> faults)
    {
        List<RuleFault> found = [];
        List<RuleFile> files = [.. RuleSources.Read(job.Sources, found)];
        if (job.Builtin)
        {
            files.AddRange(RuleSources.Builtin());
        }

        RuleParts rules = RuleParts.Compile(RuleCompiler.Read(files, new YaraOptions(), found), job.Compiled);
        faults.AddRange(found.Where(f => !f.IsWarning).Select(f => new RuleFaultReport(f.File, f.Line, f.Rule.Length > 0 ? $"rule {f.Rule}: {f.Message}" : f.Message)));
        return rules;
    }
}
