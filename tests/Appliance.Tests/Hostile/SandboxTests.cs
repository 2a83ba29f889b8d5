using System.Diagnostics;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Hostile;

/// <summary>What a program that took over a worker could do: the worker's own sandbox, with a shell in its place.</summary>
[Collection("PATH")]
public sealed class SandboxTests
{
    private static (int Status, string Output) Inside(string script, params (string Host, string Inside)[] binds)
    {
        Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
        Assert.True(sandbox.IsFull, sandbox.Detail);
        ProcessStartInfo start = sandbox.WorkerStart(binds, 64 << 20);
        string[] arguments = [.. start.ArgumentList.TakeWhile(a => a != "--"), "--", "/bin/sh", "-c", script];
        (int status, byte[] output, string error) = Tool.Try(Tool.Find("bwrap"), null, arguments);
        return (status, System.Text.Encoding.UTF8.GetString(output) + error);
    }

    [Theory]
    [InlineData("cat /etc/passwd")]
    [InlineData("cat /etc/shadow")]
    [InlineData("cat /root/.bashrc")]
    [InlineData("ls /home")]
    [InlineData("ls /var")]
    [InlineData("ls /tmp/*")]
    [InlineData("ls /sys")]
    [InlineData("ls /run")]
    [InlineData("cat /proc/1/root/etc/shadow")]
    [InlineData("touch /x")]
    [InlineData("touch /job/x")]
    [InlineData("touch /usr/x")]
    [InlineData("touch /lib/x")]
    [InlineData("echo x >> /job/image/0")]
    [InlineData("echo x > /job/image/0")]
    [InlineData("mv /job/image/0 /job/image/1")]
    [InlineData("rm /job/image/0")]
    [InlineData("chmod 777 /job/image/0")]
    [InlineData("mount -o remount,rw /job/image/0")]
    [InlineData("mount -t tmpfs none /job")]
    [InlineData("umount /job/image/0")]
    [InlineData("unshare -n true")]
    [InlineData("unshare -U true && unshare -m true && exit 0; exit 1")]
    [InlineData("cat /proc/sys/kernel/randomize_va_space > /proc/sys/kernel/randomize_va_space")]
    [InlineData("cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern")]
    [InlineData("echo h > /proc/sysrq-trigger")]
    [InlineData("dd if=/dev/sda of=/dev/null count=1")]
    [InlineData("dd if=/dev/vda of=/dev/null count=1")]
    [InlineData("mknod /dev/x b 8 0")]
    [InlineData("perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0) or die; connect(S, sockaddr_in(53, inet_aton(\"1.1.1.1\"))) or die'")]
    [InlineData("ls -d /proc/[0-9]* | tail -n +6 | grep .")]
    public void A_taken_over_worker_cannot(string script)
    {
        using var scratch = new Scratch();
        File.WriteAllBytes(scratch["image"], new byte[512]);
        (int status, string output) = Inside(script, (scratch["image"], "/job/image/0"));
        Assert.True(status != 0, $"it can: {output}");
        Assert.Equal(new byte[512], File.ReadAllBytes(scratch["image"]));
    }

    [Fact]
    public void It_reads_its_image_and_has_no_network_no_rights_and_no_foreign_environment()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["image"], "guest bytes");
        Environment.SetEnvironmentVariable("VMSWEEP_TEST_SECRET", "secret-of-the-supervisor");
        (int status, string output) = Inside(
            "cat /job/image/0; echo; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; cat /proc/net/dev | tail -n +3 | cut -d: -f1; env; ls /proc | grep -c '^[0-9]'; hostname",
            (scratch["image"], "/job/image/0"));
        Assert.Equal(0, status);
        Assert.StartsWith("guest bytes\n", output, StringComparison.Ordinal);
        Assert.Matches(@"NoNewPrivs:\s1", output);
        // CAP_DAC_READ_SEARCH is bit 2: root reads images of other accounts with it, and nothing else.
        Assert.Matches(Environment.IsPrivilegedProcess ? @"CapEff:\s0{15}4" : @"CapEff:\s0{16}", output);
        Assert.DoesNotContain("secret-of-the-supervisor", output, StringComparison.Ordinal);
        Assert.DoesNotContain("eth", output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_sandbox_that_cannot_start_is_reduced_and_says_why()
    {
        using var scratch = new Scratch();
        Tool.Shell("printf '#!/bin/sh\\necho \"no permission to make namespaces\" >&2\\nexit 1\\n' > bwrap; chmod +x bwrap; mkdir plain; echo no > plain/bwrap", scratch.Folder);
        string? path = Environment.GetEnvironmentVariable("PATH");
        foreach (string folder in (string[])[scratch.Folder, scratch["plain"]])
        {
            try
            {
                Environment.SetEnvironmentVariable("PATH", folder + ":" + path);
                Sandbox sandbox = Sandbox.Probe(SandboxMode.Full);
                Assert.False(sandbox.IsFull);
                Assert.NotEmpty(sandbox.Detail);
            }
            finally
            {
                Environment.SetEnvironmentVariable("PATH", path);
            }
        }
    }
}
