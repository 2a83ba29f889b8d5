using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>The whole program, started as users start it, sandbox on.</summary>
[Trait("Category", "Slow")]
[Collection("PATH")]
public sealed class LauncherTests
{
    private static readonly string Program = Path.Combine(RepositoryRoot.Path, "vmsweep");

    [Fact]
    public void Names_of_a_guest_act_on_no_outlet()
    {
        using var scratch = new Scratch();
        Tool.Shell($$"""
            mkdir t
            for n in $'\e]0;pwned\a' $'new\nline' $'tab\there' $'\xff\xfeinvalid' '<script>alert(1)<' $'\u202egpj.exe' '..\..\x' $'cr\rcr' $'\xc2\x9b31m' ' lead' '-rf' '%s%n' '[red]' '{0}' $'\x7f'; do printf {{HostileScan.Mark}} > "t/$n"; done
            PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -O ^has_journal -L $'\e[31mL\n<b>' -d t $'image \e[31m\n.raw' 2M 2>/dev/null
            printf 'rule Marked { strings: $a = "{{HostileScan.Mark}}" condition: $a }' > r.yar
            printf 'displayName = "\e[2J|1B[31m|0A<b>\xe2\x80\xae"\nscsi0:0.fileName = "image \e[31m|0A.raw"\n' > vm.vmx
            """, scratch.Folder);
        string image = Directory.GetFiles(scratch.Folder, "image*").Single();
        foreach (string target in (string[])[image, scratch["vm.vmx"]])
        {
            foreach (string format in (string[])["text", "json", "ndjson"])
            {
                (int status, string output, string error) = Run("scan", target, "--rules", scratch["r.yar"], "--format", format, "--state", "none");
                Assert.True(status == 1, output + error);
                AssertHarmless(output + error);
                if (format == "ndjson")
                {
                    Assert.All(output.Split('\n', StringSplitOptions.RemoveEmptyEntries), l => JsonDocument.Parse(l).Dispose());
                }

                if (format != "text")
                {
                    Assert.DoesNotContain('<', output);
                }
            }
        }

        foreach (string[] arguments in (string[][])[["info", image], ["info", image, "--format", "json"], ["ls", image, "-R"], ["ls", image, "-R", "--format", "json"], ["cat", image, "v1/\e[31mnone"]])
        {
            (_, string output, string error) = Run(arguments);
            AssertHarmless(output + error);
        }

        string[] lines = Run("ls", image, "-R", "--files", "--sha256", "--format", "tsv").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(15, lines.Length);
        Assert.All(lines, l => Assert.Equal(3, l.Split('\t').Length));

        // On a terminal, whatever the format.
        foreach (string format in (string[])["text", "tsv", "json"])
        {
            string command = string.Join(' ', ((string[])[Program, "ls", image, "-R", "--format", format]).Select(a => "'" + a + "'"));
            string seen = Tool.Run("script", "-qec", command, "/dev/null");

            // What the runtime and the progress line say to the terminal themselves.
            foreach (string own in (string[])["\r\e[2K", "\e[?1h\e=", "\e[?1l\e>", "\e[6n", "\r"])
            {
                seen = seen.Replace(own, "", StringComparison.Ordinal);
            }

            AssertHarmless(format == "tsv" ? seen.Replace("\t", " ", StringComparison.Ordinal) : seen);
        }
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public async Task An_interrupt_ends_with_a_report_and_leaves_nothing_behind(string signal)
    {
        using var scratch = new Scratch();
        using var temporary = new Scratch();
        HostileScan.AddSound(scratch);
        File.WriteAllText(scratch["r.yar"], "rule Slow { strings: $a = /x[^y]{1,200}[a-f]{3}Q/ condition: $a }");
        Tool.Shell("(yes 'xxxxxxxxxxxx abcdefgh' 2>/dev/null || true) | head -c 1500000000 > long.raw", scratch.Folder);
        // As from a terminal: tests that a script runs in the background have SIGINT ignored, and so would this.
        var start = new ProcessStartInfo("env", ["--default-signal=INT", Program, "scan", scratch[HostileScan.Sound], scratch["long.raw"], "--rules", scratch["r.yar"], "--format", "json", "--state", "none", "--threads", "1"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["TMPDIR"] = temporary.Folder;
        using Process process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        int worker = WaitForWorker(process.Id, scratch["long.raw"]);
        AssertLimited(worker);
        Tool.Run("kill", "-" + signal, process.Id.ToString(CultureInfo.InvariantCulture));

        // Two seconds are promised; a busy machine takes longer, and the scan to its end far longer still.
        Assert.True(process.WaitForExit(20_000));

        Assert.Equal(3, process.ExitCode);
        using JsonDocument report = JsonDocument.Parse(await output);
        Assert.Equal("incomplete", report.RootElement.GetProperty("verdict").GetString());
        Assert.Contains("interrupted", report.RootElement.ToString(), StringComparison.Ordinal);
        Assert.True(report.RootElement.GetProperty("targets")[0].GetProperty("disks")[0].GetProperty("volumes")[0].GetProperty("files").GetProperty("scanned").GetInt64() > 0);
        SpinWait.SpinUntil(() => !Directory.Exists($"/proc/{worker}"), 2000);
        Assert.False(Directory.Exists($"/proc/{worker}"), "the worker lives on");
        Assert.Empty(Directory.GetFileSystemEntries(temporary.Folder, "vmsweep-*"));
        Assert.Equal(0, Run("scan", scratch[HostileScan.Sound], "--rules", scratch["r.yar"], "--state", "none").Status);
    }

    [Fact]
    public async Task A_worker_that_is_killed_costs_its_disk()
    {
        using var scratch = new Scratch();
        HostileScan.AddSound(scratch);
        File.WriteAllText(scratch["r.yar"], "rule Slow { strings: $a = /x[^y]{1,200}[a-f]{3}Q/ condition: $a }");
        Tool.Shell("(yes 'xxxxxxxxxxxx abcdefgh' 2>/dev/null || true) | head -c 1500000000 > a-long.raw", scratch.Folder);
        using Process process = Process.Start(new ProcessStartInfo(Program, ["scan", scratch.Folder, "--rules", scratch["r.yar"], "--format", "json", "--state", "none", "--threads", "1"]) { RedirectStandardOutput = true })!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        // The runtime takes the first one for a fault and puts the default action back; a fault would come again, so a signal must too.
        int worker = WaitForWorker(process.Id, scratch["a-long.raw"]);
        Tool.Shell($"kill -SEGV {worker}; sleep 0.3; kill -SEGV {worker} 2>/dev/null || true");
        process.WaitForExit();

        Assert.Equal(3, process.ExitCode);
        using JsonDocument report = JsonDocument.Parse(await output);
        JsonElement[] targets = [.. report.RootElement.GetProperty("targets").EnumerateArray()];
        Assert.Contains(targets[0].GetProperty("gaps").EnumerateArray(), g => g.GetProperty("structure").GetString() == "worker");
        Assert.Equal(0, targets[1].GetProperty("gaps").GetArrayLength());
    }

    [Fact]
    public void Require_fails_without_a_sandbox_and_reduced_is_loud()
    {
        using var scratch = new Scratch();
        HostileScan.AddSound(scratch);
        Tool.Shell("mkdir bin; printf '#!/bin/sh\\necho no namespaces >&2; exit 1\\n' > bin/bwrap; chmod +x bin/bwrap", scratch.Folder);
        string broken = scratch["bin"] + ":" + Environment.GetEnvironmentVariable("PATH");
        (int status, string output, string error) = RunWith(broken, "scan", scratch[HostileScan.Sound], "--sandbox", "require", "--state", "none");
        Assert.Equal((2, ""), (status, output));
        Assert.Contains("no namespaces", error, StringComparison.Ordinal);

        (status, output, error) = RunWith(broken, "scan", scratch[HostileScan.Sound], "--state", "none", "--format", "json");
        Assert.Equal(0, status);
        Assert.Contains("WARNING: sandbox reduced", error, StringComparison.Ordinal);
        Assert.Contains("\"sandbox\": \"reduced\"", output, StringComparison.Ordinal);
        Assert.Contains("\"sandbox\": \"full\"", Run("scan", scratch[HostileScan.Sound], "--state", "none", "--format", "json").Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("scan /nothing/of/this/name", 2)]
    [InlineData("scan /dev/zero", 2)]
    [InlineData("ls /dev/zero", 2)]
    [InlineData("scan", 2)]
    [InlineData("scan --sandbox none .", 2)]
    [InlineData("nothing", 2)]
    public void What_cannot_be_carried_out_ends_with_two(string arguments, int status) =>
        Assert.Equal(status, Run(arguments.Split(' ')).Status);

    [Fact]
    public void A_reader_of_the_output_that_goes_away_is_no_fault_of_the_image()
    {
        using var scratch = new Scratch();
        Tool.Shell("head -c 50000000 /dev/urandom > r.raw", scratch.Folder);
        string said = Tool.Shell($"({Program} read r.raw 2>err || true) | head -c 10 >/dev/null; cat err", scratch.Folder);
        Assert.DoesNotContain("corrupt", said, StringComparison.Ordinal);
    }

    private static void AssertHarmless(string text) =>
        Assert.All(text.EnumerateRunes(), r => Assert.True(r.Value == '\n' || !DiskReaders.FileSystems.GuestName.ActsOnTerminal(r), $"U+{r.Value:X4} in: {text}"));

    private static (int Status, string Output, string Error) Run(params string[] arguments) => RunWith(Environment.GetEnvironmentVariable("PATH")!, arguments);

    private static (int Status, string Output, string Error) RunWith(string path, params string[] arguments)
    {
        (int status, byte[] output, string error) = Tool.Try("/usr/bin/env", null, ["PATH=" + path, Program, .. arguments]);
        return (status, Encoding.UTF8.GetString(output), error.TrimEnd());
    }

    /// <summary>The worker that holds an image open: a descendant of the program.</summary>
    private static int WaitForWorker(int program, string image)
    {
        for (int i = 0; i < 600; i++, Thread.Sleep(50))
        {
            string found = Tool.Shell($"for p in /proc/[0-9]*; do if [ -e $p/exe ] && tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'vmsweep worker' && ! grep -qa bwrap $p/comm && grep -q -- '{image}' $p/mountinfo 2>/dev/null; then echo ${{p#/proc/}}; fi; done || true").Trim();
            if (found.Length > 0 && Directory.Exists($"/proc/{program}"))
            {
                int worker = int.Parse(found.Split('\n')[0], CultureInfo.InvariantCulture);
                if (File.ReadAllText($"/proc/{worker}/limits").Contains("Max file size             0 ", StringComparison.Ordinal))
                {
                    Thread.Sleep(300);
                    return worker;
                }
            }
        }

        throw new InvalidOperationException("no worker came up");
    }

    private static void AssertLimited(int worker)
    {
        string limits = File.ReadAllText($"/proc/{worker}/limits");
        Assert.Matches(@"Max file size +0 +0 ", limits);
        Assert.Matches(@"Max core file size +0 +0 ", limits);
        Assert.DoesNotMatch(@"Max data size +unlimited", limits);
        Assert.DoesNotMatch(@"Max cpu time +unlimited", limits);
        Assert.True(SpinWait.SpinUntil(() => Statuses(worker).All(s => s.Contains("Seccomp:\t2", StringComparison.Ordinal)), TimeSpan.FromSeconds(30)), "a thread of the worker is without the system call filter");
        Assert.NotEqual(File.ResolveLinkTarget("/proc/self/ns/net", false)!.ToString(), File.ResolveLinkTarget($"/proc/{worker}/ns/net", false)!.ToString());
    }

    private static IEnumerable<string> Statuses(int process) => Directory.GetDirectories($"/proc/{process}/task").Select(t => File.ReadAllText(t + "/status"));
}
