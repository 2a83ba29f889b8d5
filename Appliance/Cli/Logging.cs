using System.Globalization;
using Serilog;
using Serilog.Events;
using Serilog.Formatting;
using Serilog.Formatting.Compact;
using Vmsweep.Appliance.Connectors.Datastore;

namespace Vmsweep.Appliance.Cli;

/// <summary>Diagnostics: warnings on standard error, everything in the state folder as compact JSON.</summary>
internal static class Logging
{
    private const int DaysKept = 31;

    /// <param name="state">The state folder; <c>none</c> keeps nothing; null for the default one.</param>
    public static IDisposable Open(string? state)
    {
        LoggerConfiguration configuration = new LoggerConfiguration()
            .MinimumLevel.Information()
            .WriteTo.Console(
                restrictedToMinimumLevel: LogEventLevel.Warning,
                standardErrorFromLevel: LogEventLevel.Verbose,
                formatter: new PrintableFormatter());
        if (StateFolder.Of(state) is { } folder)
        {
            try
            {
                string logs = Path.Combine(folder, "log");
                Directory.CreateDirectory(logs);
                configuration.WriteTo.File(new CompactJsonFormatter(), Path.Combine(logs, "vmsweep-.json"), rollingInterval: RollingInterval.Day, retainedFileCountLimit: DaysKept, shared: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new TargetException($"the state folder cannot be used: {e.Message} (choose another with --state DIR, or --state none)");
            }
        }

        Serilog.Core.Logger logger = configuration.CreateLogger();
        Log.Logger = logger;
        return logger;
    }

    /// <summary>One line for each event; names of hosts and guests and what workers said must not act on the terminal.</summary>
    private sealed class PrintableFormatter : ITextFormatter
    {
        public void Format(LogEvent logEvent, TextWriter output) =>
            output.WriteLine("vmsweep: " + Printable.Of(logEvent.RenderMessage(CultureInfo.InvariantCulture)));
    }
}
