using System.Text;

namespace Vmsweep.Appliance.Cli;

/// <summary>Where results go.</summary>
internal static class Outputs
{
    public static Stream OpenBytes(FileInfo? file) => file is null ? Console.OpenStandardOutput() : file.Create();

    public static TextWriter OpenText(FileInfo? file) =>
        new StreamWriter(OpenBytes(file), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), 64 << 10) { NewLine = "\n" };

    /// <summary>True when results are seen by a person on a terminal, so that guest text must not act on it.</summary>
    public static bool IsTerminal(FileInfo? file) => file is null && !Console.IsOutputRedirected;
}
