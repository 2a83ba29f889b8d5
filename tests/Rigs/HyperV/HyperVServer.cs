using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using System.Xml.Linq;

namespace Vmsweep.Rigs.HyperV;

/// <summary>One host's HTTP: TLS with the account's password, and in the clear on loopback for a web server in front.</summary>
internal sealed class HyperVServer : IDisposable
{
    private const string Bomb = "<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY c \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]><b>&d;&d;&d;&d;</b>";
    private const string External = "<?xml version=\"1.0\"?><!DOCTYPE b [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><b>&x;</b>";

    private readonly HyperVRig _rig;
    private readonly HyperVWmi _wmi;
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly TcpListener _plain = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();

    public HyperVServer(HyperVRig rig, string node)
    {
        (_rig, Node) = (rig, node);
        _wmi = new HyperVWmi(rig, node);
        _listener.Start();
        _plain.Start();
        _ = AcceptAsync(_listener, isTls: true);
        _ = AcceptAsync(_plain, isTls: false);
    }

    public string Node { get; }

    public string Address => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");

    public int PlainPort => ((IPEndPoint)_plain.LocalEndpoint).Port;

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Dispose();
        _plain.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync(TcpListener listener, bool isTls)
    {
        try
        {
            while (true)
            {
                TcpClient client = await listener.AcceptTcpClientAsync(_stop.Token);
                client.NoDelay = true;
                _ = Task.Factory.StartNew(() => Serve(client, isTls), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The rig ends.
        }
    }

    private void Serve(TcpClient client, bool isTls)
    {
        try
        {
            using (client)
            using (Stream stream = isTls ? new SslStream(client.GetStream()) : client.GetStream())
            {
                if (stream is SslStream tls)
                {
                    tls.AuthenticateAsServer(_rig.Certificate);
                }

                while (!_rig.Down.Contains(Node) && Request(stream) is var (head, body) && Answer(stream, head, body, isTls))
                {
                }
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or System.Security.Authentication.AuthenticationException)
        {
            // The client went away, or did not like the certificate.
        }
    }

    private static (string Head, string Body)? Request(Stream stream)
    {
        var head = new StringBuilder();
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            int next = stream.ReadByte();
            if (next < 0)
            {
                return null;
            }

            head.Append((char)next);
        }

        int length = head.ToString().Split("\r\n").Where(l => l.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase)).Select(l => int.Parse(l[15..], CultureInfo.InvariantCulture)).FirstOrDefault();
        byte[] body = new byte[length];
        stream.ReadExactly(body);
        return (head.ToString(), Encoding.UTF8.GetString(body));
    }

    /// <summary>False where the connection ends.</summary>
    private bool Answer(Stream stream, string head, string body, bool isTls)
    {
        string expected = "Authorization: Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{HyperVRig.Account}:{HyperVRig.Password}"));
        if (isTls && !head.Split("\r\n").Contains(expected, StringComparer.OrdinalIgnoreCase))
        {
            _rig.Calls.AddOrUpdate("401", 1, (_, n) => n + 1);
            return Send(stream, 401, "WWW-Authenticate: Basic realm=\"WSMAN\"\r\n", "");
        }

        if (_rig.Down.Contains(Node))
        {
            // It went down while it waited for this.
            return false;
        }

        XElement message = XDocument.Parse(body).Root!;
        string action = message.Descendants(HyperVWmi.Addressing + "Action").Single().Value, what = action[(action.LastIndexOf('/') + 1)..];
        _rig.Calls.AddOrUpdate(what, 1, (_, n) => n + 1);
        string fault = _rig.FaultOf(what) ?? "";
        string value = fault.Contains(':', StringComparison.Ordinal) ? fault[(fault.IndexOf(':', StringComparison.Ordinal) + 1)..] : "";
        switch (fault.Split(':')[0])
        {
            case "status":
                return Send(stream, int.Parse(value, CultureInfo.InvariantCulture), "", "");
            case "fault":
                return Send(stream, 500, "", HyperVWmi.Fault(value, "as it was armed").ToString());
            case "close":
                return false;
            case "lost":
                _wmi.Answer(message, what, isJobFailing: false);
                return false;
            case "hang":
                Thread.Sleep(4000);
                return false;
            case "delay":
                Thread.Sleep(int.Parse(value, CultureInfo.InvariantCulture));
                break;
            case "delayafter":
                (int late, XElement later) = _wmi.Answer(message, what, isJobFailing: false);
                Thread.Sleep(int.Parse(value, CultureInfo.InvariantCulture));
                return Send(stream, late, "", later.ToString());
            case "garbage":
                return Send(stream, 200, "", "<html>garbage");
            case "bomb":
                return Send(stream, 200, "", Bomb);
            case "external":
                return Send(stream, 200, "", External);
            case "deep":
                return Send(stream, 200, "", string.Concat(Enumerable.Repeat("<a>", 500)));
            case "endless":
                return Endless(stream);
            case "short":
                stream.Write(Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<s:Envelope>"));
                return false;
        }

        (int status, XElement answer) = _wmi.Answer(message, what, fault == "job");
        return Send(stream, status, "", answer.ToString(SaveOptions.DisableFormatting));
    }

    private static bool Send(Stream stream, int status, string more, string body)
    {
        byte[] content = Encoding.UTF8.GetBytes(body);
        string date = TimeProvider.System.GetUtcNow().ToString("R", CultureInfo.InvariantCulture);
        string head = string.Create(CultureInfo.InvariantCulture, $"HTTP/1.1 {status} x\r\nDate: {date}\r\nContent-Type: application/soap+xml;charset=UTF-8\r\nContent-Length: {content.Length}\r\n{more}\r\n");
        stream.Write([.. Encoding.ASCII.GetBytes(head), .. content]);
        return true;
    }

    private static bool Endless(Stream stream)
    {
        stream.Write(Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
        byte[] chunk = Encoding.ASCII.GetBytes("100000\r\n" + new string(' ', 1 << 20) + "\r\n");
        for (int i = 0; i < 80; i++)
        {
            stream.Write(chunk);
        }

        return false;
    }
}
