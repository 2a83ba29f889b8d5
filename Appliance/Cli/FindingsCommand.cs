using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;

namespace Vmsweep.Appliance.Cli;

/// <summary><c>vmsweep findings</c>: what scans found, and what became of it.</summary>
internal static class FindingsCommand
{
    public static Command Create() => new("findings", "What scans found, and what became of it since.") { List(), Show() };

    /// <summary>Reads the store of a state folder that is there.</summary>
    /// <exception cref="TargetException">There is none.</exception>
    internal static Database Open(string? state, string? configuration)
    {
        string folder = StateFolder.Of(state) ?? throw new TargetException("results are kept in the state folder; there are none with --state none");
        var place = new DatabasePlace(folder, ApplianceConfiguration.Read(configuration).Server);
        if (place.Server is null && !File.Exists(Path.Combine(folder, Database.FileName)))
        {
            throw new TargetException($"{folder}: nothing is recorded there; scans record their results unless they are told --state none or --no-cache");
        }

        try
        {
            return Database.OpenOrThrow(place, TimeProvider.System, isDurable: true);
        }
        catch (DatabaseException e)
        {
            throw new TargetException($"the database {place.Name} cannot be used: {e.Message}");
        }
    }

    private static Command List()
    {
        var vm = new Option<string?>("--vm") { Description = "Only of the VM with this name or id.", HelpName = "VM" };
        var tenant = new Option<string?>("--tenant") { Description = "Only of this tenant's VMs.", HelpName = "NAME" };
        var severity = new Option<string?>("--severity") { Description = "This severity and worse.", HelpName = "critical|high|medium|low|info" };
        severity.AcceptOnlyFromAmong("critical", "high", "medium", "low", "info");
        var rule = new Option<string?>("--rule") { Description = "Only of this rule; * stands for any characters.", HelpName = "RULE" };
        var states = new Option<string[]>("--finding-state")
        {
            Description = "new, open, gone, suppressed, separated by commas, or all; by default new,open.", HelpName = "STATE,...", CustomParser = ParseStates, DefaultValueFactory = _ => [FindingStates.New, FindingStates.Open],
        };
        var since = new Option<DateTimeOffset?>("--since") { Description = "Seen, or changed in state, since: a date (2026-01-31), a time (2026-01-31T22:00Z), or days or hours ago (7d, 12h).", HelpName = "WHEN", CustomParser = ParseSince };
        var most = new Option<int>("--most") { Description = "No more than so many, the worst first.", DefaultValueFactory = _ => 1000, HelpName = "N" };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<FileInfo?> output = CommonOptions.Out();
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("list", "Lists findings: of all VMs, each rule at each place once, with its state. \"gone\" is only what a scan that read its place did not find again.")
        {
            vm, tenant, severity, rule, states, since, most, format, output, configuration, state,
        };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Database database = Open(parsed.GetValue(state), parsed.GetValue(configuration));
            int limit = Math.Clamp(parsed.GetValue(most), 1, 1_000_000);
            IReadOnlyList<KnownFinding> findings = new FindingQueries(database).List(new FindingFilter
            {
                Vm = parsed.GetValue(vm),
                Tenant = parsed.GetValue(tenant),
                Severity = parsed.GetValue(severity),
                Rule = parsed.GetValue(rule),
                States = parsed.GetValue(states) ?? [],
                Since = parsed.GetValue(since),
                Most = limit + 1,
            });
            var list = new FindingList([.. findings.Take(limit)], findings.Count > limit);
            FileInfo? file = parsed.GetValue(output);
            using TextWriter writer = Outputs.OpenText(file);
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(list, FindingJson.Default.FindingList));
                return ExitStatus.Clean;
            }

            ResultText.Write(list.Findings, TextConsole.Of(writer, Outputs.IsTerminal(file)));
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{list.Findings.Count} findings{(list.IsCut ? ", and more: --most N" : "")}"));
            return ExitStatus.Clean;
        }));
        return command;
    }

    private static Command Show()
    {
        var id = new Argument<long>("ID") { Description = "As findings list shows it." };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<string?> configuration = CommonOptions.Configuration();
        Option<string?> state = CommonOptions.State();
        var command = new Command("show", "Shows a finding, its life, and every scan that saw it.") { id, format, configuration, state };
        command.SetAction((parsed, _) => CommandFailure.Guard(() =>
        {
            using IDisposable log = Logging.Open(parsed.GetValue(state));
            using Database database = Open(parsed.GetValue(state), parsed.GetValue(configuration));
            FindingLife life = new FindingQueries(database).Show(parsed.GetValue(id)) ?? throw new TargetException($"there is no finding {parsed.GetValue(id)}");
            using TextWriter writer = Outputs.OpenText(null);
            if (parsed.GetRequiredValue(format) == "json")
            {
                writer.WriteLine(JsonSerializer.Serialize(life, FindingJson.Default.FindingLife));
            }
            else
            {
                ResultText.Write(life, TextConsole.Of(writer, Outputs.IsTerminal(null)));
            }

            return ExitStatus.Clean;
        }));
        return command;
    }

    private static string[] ParseStates(ArgumentResult result)
    {
        string[] names = [.. result.Tokens.SelectMany(t => t.Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)).Distinct()];
        if (names is ["all"])
        {
            return [];
        }

        if (names.FirstOrDefault(n => !FindingStates.All.Contains(n)) is { } unknown)
        {
            result.AddError($"There is no state '{unknown}'; there are {string.Join(", ", FindingStates.All)}, all.");
        }

        return names;
    }

    private static DateTimeOffset? ParseSince(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (text.Length > 1 && text[^1] is 'd' or 'h' && int.TryParse(text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out int ago) && ago < 36_500)
        {
            return TimeProvider.System.GetUtcNow() - (text[^1] == 'd' ? TimeSpan.FromDays(ago) : TimeSpan.FromHours(ago));
        }

        if (DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset time))
        {
            return time;
        }

        result.AddError($"'{text}' is no time, such as 2026-01-31, 7d or 12h.");
        return null;
    }
}
