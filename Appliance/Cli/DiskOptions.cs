using System.CommandLine;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary>How <c>info</c>, <c>ls</c>, <c>cat</c> and <c>read</c> open disks, as the operator chose it.</summary>
internal sealed record DiskOptions(SandboxMode Sandbox, IReadOnlyList<string> Bases, IReadOnlyList<byte[]> Secrets, string? Snapshot, string? Configuration, string? State)
{
    /// <summary>Adds the options to a command; the answer reads them from its parsed line.</summary>
    public static Func<ParseResult, DiskOptions> AddTo(Command command)
    {
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        Option<string[]> bases = CommonOptions.Bases();
        Option<string?> key = CommonOptions.Key();
        Option<string?> snapshot = CommonOptions.Snapshot();
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        command.Options.Add(bases);
        command.Options.Add(key);
        command.Options.Add(snapshot);
        command.Options.Add(sandbox);
        command.Options.Add(configuration);
        command.Options.Add(state);
        return parsed => new DiskOptions(parsed.GetValue(sandbox) ?? SandboxMode.Full, parsed.GetValue(bases) ?? [], KeyFile.Read(parsed.GetValue(key)), parsed.GetValue(snapshot), parsed.GetValue(configuration), parsed.GetValue(state));
    }
}
