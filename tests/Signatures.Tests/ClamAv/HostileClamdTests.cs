using System.Net.Sockets;
using System.Text;
using Vmsweep.Golden;
using Vmsweep.Signatures.ClamAv;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Signatures.Tests.ClamAv;

/// <summary>Something on the socket that is no sound clamd: it never hangs or breaks a scan, and nothing of it is taken for clean.</summary>
public sealed class HostileClamdTests
{
    public enum Behaviour
    {
        Answers,
        AnswersWithoutEnd,
        AnswersUnasked,
        ClosesAtOnce,
        ClosesAfterReading,
        NeverReads,
        NeverAnswers,
        Trickles,
        SaysForEver,
    }

    [Theory]
    [InlineData(Behaviour.Answers, "stream: FOUND", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "stream:  FOUND", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "OK", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "stream: OK\n", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "1: stream: OK", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "HTTP/1.1 400 Bad Request", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "\u001b[31m\u00ff\u00fe\u0001", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "UNKNOWN COMMAND", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "Can't allocate memory ERROR", MatchFaultKind.Engine)]
    [InlineData(Behaviour.Answers, "stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND", MatchFaultKind.Limit)]
    [InlineData(Behaviour.Answers, "stream: Time limit reached ERROR", MatchFaultKind.Limit)]
    [InlineData(Behaviour.Answers, "stream: File too large (2GB+) ERROR", MatchFaultKind.Limit)]
    [InlineData(Behaviour.Answers, "COMMAND READ TIMED OUT ERROR", MatchFaultKind.Timeout)]
    [InlineData(Behaviour.Answers, "INSTREAM size limit exceeded. ERROR", MatchFaultKind.Limit)]
    [InlineData(Behaviour.AnswersUnasked, "INSTREAM size limit exceeded. ERROR", MatchFaultKind.Limit)]
    [InlineData(Behaviour.AnswersWithoutEnd, "stream: OK", MatchFaultKind.Transport)]
    [InlineData(Behaviour.AnswersWithoutEnd, "stream: Evil", MatchFaultKind.Transport)]
    [InlineData(Behaviour.ClosesAtOnce, "", MatchFaultKind.Transport)]
    [InlineData(Behaviour.ClosesAfterReading, "", MatchFaultKind.Transport)]
    [InlineData(Behaviour.NeverReads, "", MatchFaultKind.Timeout)]
    [InlineData(Behaviour.NeverAnswers, "", MatchFaultKind.Timeout)]
    [InlineData(Behaviour.Trickles, "stream: OK", MatchFaultKind.Timeout)]
    [InlineData(Behaviour.SaysForEver, "", MatchFaultKind.Engine)]
    public void It_is_a_fault(Behaviour behaviour, string answer, MatchFaultKind kind)
    {
        using var server = new Scripted(behaviour, Encoding.Latin1.GetBytes(answer));
        List<Detection> found = [];
        MatchFault? fault = Match(server, found, new byte[1 << 20]);
        Assert.Empty(found);
        Assert.Equal(kind, fault!.Kind);
        Assert.DoesNotContain(fault.Detail, char.IsControl);
        Assert.InRange(fault.Detail.Length, 1, 400);
    }

    [Theory]
    [InlineData("Win.Test.EICAR_HDB-1", "Win.Test.EICAR_HDB-1", Severity.Low)]
    [InlineData("Win.Trojan.Agent-1(0123456789abcdef0123456789abcdef:68)", "Win.Trojan.Agent-1", Severity.High)]
    [InlineData("Win.Trojan.Agent-1(x)", "Win.Trojan.Agent-1(x)", Severity.High)]
    [InlineData("Heuristics.Encrypted.Zip", "Heuristics.Encrypted.Zip", Severity.Medium)]
    [InlineData("PUA.Win.Packer.Upx", "PUA.Win.Packer.Upx", Severity.Low)]
    [InlineData(" FOUND", " FOUND", Severity.High)]
    [InlineData("OK", "OK", Severity.High)]
    public void A_name_is_taken_as_it_is(string said, string rule, Severity severity)
    {
        using var server = new Scripted(Behaviour.Answers, Encoding.UTF8.GetBytes($"stream: {said} FOUND"));
        List<Detection> found = [];
        Assert.Null(Match(server, found, "x"u8.ToArray()));
        Assert.Equal((rule, severity), (Assert.Single(found).Rule, found[0].Severity));
    }

    [Theory]
    [InlineData("ClamAV 1.4.6/27500/Fri Nov 27 08:31:02 2026", "1.4.6", 27500, "2026-11-27")]
    [InlineData("ClamAV 1.4.6/27501/Tue Dec  1 08:31:02 2026\n", "1.4.6", 27501, "2026-12-01")]
    [InlineData("ClamAV 1.4.6/27501/no date", "1.4.6", 27501, null)]
    public void The_state_is_read_and_signatures_are_counted_only_of_the_database_that_is_loaded(string answer, string version, int database, string? date)
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["main.cvd"], "ClamAV-VDB:16 Sep 2021 08-32 -0400:62:6647427:90:x:y:sigmgr:1631795562".PadRight(512) + "data");
        File.WriteAllText(scratch["daily.cld"], "ClamAV-VDB:27 Nov 2026 08-31 -0500:27500:2067000:90:x:y:raynman:1795700000".PadRight(512));
        File.WriteAllText(scratch["odd.cvd"], "ClamAV-VDB:::");
        File.WriteAllText(scratch["mirrors.dat"], "");
        using var server = new Scripted(Behaviour.Answers, Encoding.ASCII.GetBytes(answer));
        ClamdState state = ClamdState.Ask(server.Socket, scratch.Folder, TestContext.Current.CancellationToken);
        Assert.Equal((version, database, date), (state.Version, state.DatabaseVersion, state.DatabaseDate?.ToString("yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture)));
        Assert.Equal(database == 27500 ? 6647427 + 2067000 : null, state.Signatures);
        Assert.False(state.TellsLimits);
    }

    [Theory]
    [InlineData(Behaviour.Answers, "220 mail ESMTP")]
    [InlineData(Behaviour.Answers, "ClamAV 1\u001b[31m")]
    [InlineData(Behaviour.ClosesAtOnce, "")]
    [InlineData(Behaviour.SaysForEver, "")]
    public void What_is_no_clamd_is_said(Behaviour behaviour, string answer)
    {
        using var server = new Scripted(behaviour, Encoding.ASCII.GetBytes(answer));
        string message = Assert.Throws<ClamdException>(() => ClamdState.Ask(server.Socket, cancellation: TestContext.Current.CancellationToken)).Message;
        Assert.Contains(server.Socket, message, StringComparison.Ordinal);
        Assert.DoesNotContain(message, char.IsControl);
    }

    private static MatchFault? Match(Scripted server, List<Detection> found, byte[] content)
    {
        var options = new ClamdOptions { Socket = server.Socket, Timeout = TimeSpan.FromSeconds(3), Outage = TimeSpan.FromSeconds(2) };
        using var engine = new ClamdEngine(options, "1");
        using IMatcher matcher = engine.CreateMatcher();
        return matcher.Match(content, default, found, TestContext.Current.CancellationToken);
    }

    /// <summary>A server that does one thing with every connection.</summary>
    private sealed class Scripted : IDisposable
    {
        private readonly Scratch _scratch = new();
        private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        private readonly List<Socket> _kept = [];

        public Scripted(Behaviour behaviour, byte[] answer)
        {
            _listener.Bind(new UnixDomainSocketEndPoint(Socket));
            _listener.Listen(8);
            new Thread(() => Serve(behaviour, answer)) { IsBackground = true }.Start();
        }

        public string Socket => _scratch["socket"];

        public void Dispose()
        {
            _listener.Dispose();
            lock (_kept)
            {
                _kept.ForEach(s => s.Dispose());
            }

            _scratch.Dispose();
        }

        private void Serve(Behaviour behaviour, byte[] answer)
        {
            try
            {
                while (true)
                {
                    Socket client = _listener.Accept();
                    lock (_kept)
                    {
                        _kept.Add(client);
                    }

                    new Thread(() => Run(client, behaviour, answer)) { IsBackground = true }.Start();
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or IOException)
            {
            }
        }

        private static void Run(Socket client, Behaviour behaviour, byte[] answer)
        {
            try
            {
                switch (behaviour)
                {
                    case Behaviour.NeverReads:
                        return;
                    case Behaviour.AnswersUnasked:
                        client.Send([.. answer, 0]);
                        return;
                    case Behaviour.SaysForEver:
                        while (true)
                        {
                            client.Send(Enumerable.Repeat((byte)'x', 4096).ToArray());
                        }

                    case Behaviour.ClosesAtOnce:
                        client.Close();
                        return;
                }

                ReadCommand(client);
                switch (behaviour)
                {
                    case Behaviour.Answers:
                        client.Send([.. answer, 0]);
                        break;
                    case Behaviour.AnswersWithoutEnd:
                        client.Send(answer);
                        break;
                    case Behaviour.Trickles:
                        foreach (byte b in answer)
                        {
                            client.Send([b]);
                            Thread.Sleep(1000);
                        }

                        return;
                    case Behaviour.NeverAnswers:
                        return;
                }

                client.Close();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException or IOException)
            {
            }
        }

        /// <summary>To the zero of a command without content, or to the empty chunk.</summary>
        private static void ReadCommand(Socket client)
        {
            using var stream = new NetworkStream(client);
            var command = new StringBuilder();
            for (int b; (b = stream.ReadByte()) > 0;)
            {
                command.Append((char)b);
            }

            byte[] length = new byte[4];
            while (command.ToString() == "zINSTREAM")
            {
                stream.ReadExactly(length);
                int count = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(length);
                if (count == 0)
                {
                    return;
                }

                stream.ReadExactly(new byte[count]);
            }
        }
    }
}
