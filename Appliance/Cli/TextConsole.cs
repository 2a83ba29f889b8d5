using Spectre.Console;

namespace Vmsweep.Appliance.Cli;

/// <summary>Where reports for people are written.</summary>
internal static class TextConsole
{
    /// <summary>Wide enough that paths and rules stand on one line in a file or pipe.</summary>
    private const int WidthOfFiles = 240;

    public static IAnsiConsole Of(TextWriter writer, bool isTerminal)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = isTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = isTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
        });
        console.Profile.Width = isTerminal ? Math.Max(40, Console.WindowWidth) : WidthOfFiles;
        return console;
    }
}
