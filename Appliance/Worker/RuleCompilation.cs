using Vmsweep.Appliance.Reports;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Worker;

/// <summary>Compiles the rules of a run, once, for all its workers.</summary>
internal static class RuleCompilation
{
    /// <exception cref="JobFailedException">No rule compiles, or with strict rules one does not.</exception>
    public static void Run(CompileJob job, EventWriter writer)
    {
        List<RuleFault> found = [];
        List<RuleFile> files = [.. RuleSources.Read(job.Sources, found)];
        if (job.Builtin)
        {
            files.AddRange(RuleSources.Builtin());
        }

        using YaraRules rules = Compile(files, found);
        List<RuleFault> errors = [.. found.Where(f => !f.IsWarning)];
        if (job.Strict && errors.Count > 0)
        {
            throw new JobFailedException(string.Join('\n', errors));
        }

        if (rules.Facts.Rules == 0)
        {
            throw new JobFailedException(errors.Count > 0 ? "no rule compiles:\n" + string.Join('\n', errors) : "there is no rule in what --rules names");
        }

        EngineFacts facts = rules.Facts;
        writer.Send(new CompiledEvent(
            new EngineReport(facts.Name, facts.Version, facts.Rules, facts.Bundle),
            [.. errors.Select(e => new RuleFaultReport(e.File, e.Line, e.Rule.Length > 0 ? $"rule {e.Rule}: {e.Message}" : e.Message))]));
        using var data = new DataStream(writer);
        rules.Save(data);
    }

    private static YaraRules Compile(List<RuleFile> files, List<RuleFault> faults)
    {
        try
        {
            return YaraRules.Compile(files, new YaraOptions(), faults);
        }
        catch (YaraException e)
        {
            throw new JobFailedException(e.Message);
        }
    }
}
