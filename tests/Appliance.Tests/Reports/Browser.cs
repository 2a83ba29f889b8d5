using System.Net;
using System.Net.Sockets;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Reports;

/// <summary>A real browser without a screen, and a server that counts who comes.</summary>
internal sealed class Browser : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly TcpListener _server = new(IPAddress.Loopback, 0);
    private readonly Task _serving;
    private int _connections;
    private int _requests;

    public Browser()
    {
        _server.Start();
        _serving = Serve();
    }

    public string Address => $"http://{_server.LocalEndpoint}";

    /// <summary>Connections to the server until now.</summary>
    public int Connections => _connections;

    /// <summary>Those that asked for something: a browser gets ready to load a frame before it looks whether it may.</summary>
    public int Requests => _requests;

    /// <summary>The page as it stands after it was loaded, as text.</summary>
    public string Load(string html)
    {
        string page = _scratch[$"{Guid.NewGuid():N}.html"];
        File.WriteAllText(page, html);
        return Run("--virtual-time-budget=3000", "--dump-dom", "file://" + page);
    }

    /// <summary>The page on paper.</summary>
    public byte[] Print(string html)
    {
        string page = _scratch["print.html"];
        File.WriteAllText(page, html);
        Run($"--print-to-pdf={_scratch["page.pdf"]}", "file://" + page);
        return File.ReadAllBytes(_scratch["page.pdf"]);
    }

    public void Dispose()
    {
        _server.Stop();
        _serving.Wait(TimeSpan.FromSeconds(5));
        _server.Dispose();
        _scratch.Dispose();
    }

    private string Run(params string[] arguments) => Tool.Run(
        "chromium",
        [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            $"--user-data-dir={_scratch[Guid.NewGuid().ToString("N")]}", .. arguments,
        ]);

    private async Task Serve()
    {
        try
        {
            while (true)
            {
                using TcpClient client = await _server.AcceptTcpClientAsync();
                Interlocked.Increment(ref _connections);
                _requests += await client.GetStream().ReadAsync(new byte[1024]) > 0 ? 1 : 0;
                await client.GetStream().WriteAsync("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"u8.ToArray());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or IOException)
        {
            // The test is over.
        }
    }
}
