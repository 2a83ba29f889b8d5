using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Vmsweep.Appliance.Tests.EndToEnd;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Engines;

/// <summary>What a worker can and cannot do with the daemon.</summary>
public sealed class ClamdGateTests
{
    [Fact]
    public void Contents_pass_and_nothing_else_does()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        using var scratch = new Scratch();
        using var gate = new ClamdGate(scratch["gate"], clamd.Socket, TimeSpan.FromMinutes(1));
        Assert.Equal("stream: Test.Marker.A.UNOFFICIAL FOUND\0", Say(gate, Scan(ClamdServer.NdbMarker)));
        Assert.Equal("stream: OK\0", Say(gate, Scan("fine")));
        foreach (string command in (string[])["zSHUTDOWN\0", "nSHUTDOWN\n", "SHUTDOWN\n", "zSCAN /etc/shadow\0", "zIDSESSION\0zSHUTDOWN\0", "zFILDES\0", "zRELOAD\0", "zINSTREAMX", "zINSTREA", ""])
        {
            Assert.Equal("", Say(gate, Encoding.ASCII.GetBytes(command)));
        }

        // Behind the content's end nothing is handed on.
        Assert.Equal("stream: OK\0", Say(gate, [.. Scan("fine"), .. "zSHUTDOWN\0"u8]));
        // Cut off: the daemon sees the end, and the worker no answer.
        Assert.Equal("", Say(gate, Scan("fine")[..16]));
        Assert.Equal("stream: OK\0", Say(gate, Scan("fine")));
    }

    [Fact]
    public void It_outlives_the_daemon_and_says_why_there_is_no_answer()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        using var scratch = new Scratch();
        using var gate = new ClamdGate(scratch["gate"], clamd.Socket, TimeSpan.FromMinutes(1));
        Assert.Equal("stream: OK\0", Say(gate, Scan("fine")));
        clamd.Kill();
        Assert.StartsWith("UNREACHABLE: ", Say(gate, Scan("fine")), StringComparison.Ordinal);
        clamd.Start();
        Assert.Equal("stream: OK\0", Say(gate, Scan("fine")));
    }

    [Fact]
    public void An_end_in_the_middle_of_connections_ends_them()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        using var scratch = new Scratch();
        var gate = new ClamdGate(scratch["gate"], clamd.Socket, TimeSpan.FromMinutes(5));
        using Socket open = Connect(gate);
        open.Send("zINSTREAM\0"u8);
        gate.Dispose();
        open.ReceiveTimeout = 60_000;
        Assert.True(open.Receive(new byte[1], SocketFlags.None, out SocketError error) == 0 || error == SocketError.ConnectionReset, error.ToString());
        Assert.Throws<SocketException>(() => Connect(gate));
    }

    [Fact]
    public void A_worker_in_its_sandbox_reaches_it_and_no_other_socket()
    {
        using ClamdServer clamd = new ClamdServer("AlertExceedsMax yes").Start();
        using var scratch = new Scratch();
        string disk = TestDisks.Raw(scratch, new Dictionary<string, string> { ["a/bad.bin"] = ClamdServer.NdbMarker, ["a/fine.bin"] = "fine", ["a/logic"] = ClamdServer.LogicalContent });
        JsonElement report = Launcher.Scan("--engine", "clamav", "--clamd", clamd.Socket, "--sandbox", "require", disk);
        Assert.Equal(
            ["Test.Logic.C.UNOFFICIAL v1/a/logic", "Test.Logic.C.UNOFFICIAL v2/a/logic", "Test.Marker.A.UNOFFICIAL v1/a/bad.bin", "Test.Marker.A.UNOFFICIAL v2/a/bad.bin"],
            report.Findings().Order());
        Assert.Empty(report.Gaps());
        Assert.Equal("full", report.GetProperty("sandbox").GetString());
        JsonElement engine = Assert.Single(report.GetProperty("engines").EnumerateArray());
        Assert.Equal("clamav", engine.GetProperty("name").GetString());
    }

    [Fact]
    public void The_doctor_says_what_is_wrong_with_a_daemon_and_with_sets()
    {
        using ClamdServer loud = new ClamdServer("AlertExceedsMax yes").Start();
        using ClamdServer quiet = new ClamdServer().Start();
        using var scratch = new Scratch();
        File.WriteAllText(scratch["text"], "no set");
        (_, string output, _) = Launcher.Run("doctor", "--clamd", loud.Socket);
        Assert.Matches(@"ok    clamav .*no database of ClamAV's own", output);
        (int status, output, _) = Launcher.Run("doctor", "--clamd", quiet.Socket, "--hashes", scratch["text"], "--known-good", scratch["absent"]);
        Assert.Equal(3, status);
        Assert.Matches(@"MEND  clamav .*AlertExceedsMax", output);
        Assert.Matches(@"MEND  hashes .*no compiled hash set", output);
        Assert.Matches(@"MEND  hashes .*absent", output);
        (_, output, _) = Launcher.Run("doctor", "--clamd", scratch["none"]);
        Assert.Matches(@"MEND  clamav .*cannot be reached", output);
        Assert.Contains("apt-get install -y clamav-daemon", output, StringComparison.Ordinal);
    }

    private static byte[] Scan(string content) => [.. "zINSTREAM\0"u8, 0, 0, 0, (byte)content.Length, .. Encoding.ASCII.GetBytes(content), 0, 0, 0, 0];

    private static Socket Connect(ClamdGate gate)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(gate.Path));
        return socket;
    }

    private static string Say(ClamdGate gate, byte[] bytes)
    {
        using Socket socket = Connect(gate);
        socket.Send(bytes);
        socket.Shutdown(SocketShutdown.Send);
        socket.ReceiveTimeout = 120_000;
        var answer = new StringBuilder();
        byte[] part = new byte[4096];
        while (socket.Receive(part, SocketFlags.None, out _) is > 0 and var got)
        {
            answer.Append(Encoding.ASCII.GetString(part, 0, got));
        }

        return answer.ToString();
    }
}
