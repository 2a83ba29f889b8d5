using System.Diagnostics;
using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hypervisors;

/// <summary>The program in processes of its own, which a test may kill.</summary>
internal static class Program
{
    private static readonly Lazy<string> Built = new(() =>
    {
        Tool.Run(Path.Combine(RepositoryRoot.Path, "vmsweep"), "--version");
        return Path.Combine(RepositoryRoot.Path, ".build/app/vmsweep");
    });

    /// <summary>What the launcher has built and starts, without its look whether that is still so.</summary>
    public static string Executable => Built.Value;

    public static (int Status, string Output, string Error) Run(params string[] arguments)
    {
        (int status, byte[] output, string error) = Tool.Try(Executable, null, arguments);
        return (status, System.Text.Encoding.UTF8.GetString(output), error);
    }

    /// <summary>As an account that owns nothing and may do nothing; it may not even look into the checkout, so that the program lies elsewhere.</summary>
    public static (int Status, string Output, string Error) RunAsNobody(params string[] arguments)
    {
        using var scratch = new Scratch();
        Tool.Shell($"cp '{Path.GetDirectoryName(Executable)}'/* . && chmod 755 .", scratch.Folder);
        (int status, byte[] output, string error) = Tool.Try(
            "setpriv", null, ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent", scratch["vmsweep"], .. arguments]);
        return (status, System.Text.Encoding.UTF8.GetString(output), error);
    }

    /// <summary>A scan's report.</summary>
    public static JsonElement Scan(params string[] arguments)
    {
        (int status, string output, string error) = Run(["scan", "--format", "json", "--no-progress", .. arguments]);
        Assert.True(output.StartsWith('{'), $"status {status}: {error}{output}");
        return JsonDocument.Parse(output).RootElement;
    }

    public static Process Start(params string[] arguments)
    {
        var start = new ProcessStartInfo(Executable, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        Process process = Process.Start(start)!;
        process.StandardInput.Close();
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }
}
