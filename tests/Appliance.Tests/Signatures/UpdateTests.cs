using Vmsweep.Appliance.Updates;
using Vmsweep.Golden;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Tests.Signatures;

public sealed class UpdateTests : IDisposable
{
    private readonly PublisherKit _kit = new();
    private readonly Scratch _scratch = new();
    private readonly HttpsServer _server;

    public UpdateTests()
    {
        _server = new HttpsServer(_scratch);
        _kit.Rule("rule a { condition: false } " + new string(' ', 300_000));
    }

    public void Dispose()
    {
        _server.Dispose();
        _scratch.Dispose();
        _kit.Dispose();
    }

    private UpdateSource Source => new() { From = _server.Url, Ca = _server.Ca, Proxy = "none" };

    private string Downloads => Path.Combine(_kit.State, "signatures/download");

    private UpdateResult Update(UpdateSource? source = null, long most = 1 << 30) => _kit.Update(most).Run([source ?? Source]);

    private string Refused(string text, UpdateSource? source = null, long most = 1 << 30)
    {
        string? active = _kit.Store.ActiveId;
        BundleException e = Assert.Throws<BundleException>(() => Update(source, most));
        Assert.Contains(text, e.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(active, _kit.Store.ActiveId);
        return e.Message;
    }

    [Fact]
    public void A_bundle_comes_once_and_then_only_when_it_has_changed()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(1));
        Assert.Equal(InstallOutcome.Activated, Update().Installed!.Outcome);
        Assert.Null(Update().Installed);
        Assert.Contains("If-None-Match: \"one\"", _server.Requests.Last(), StringComparison.OrdinalIgnoreCase);
        _server.Content = File.ReadAllBytes(_kit.Bundle(2));
        _server.ETag = "\"two\"";
        Assert.Equal(2, Update().Installed!.Manifest.Version);
        Assert.Empty(Directory.GetFiles(Downloads, "*.part"));

        // Gone from the store: it must come again whatever its tag says.
        Directory.Delete(Path.Combine(_kit.State, "signatures/bundles"), recursive: true);
        File.Delete(Path.Combine(_kit.State, "signatures/state.json"));
        Assert.Equal(InstallOutcome.Activated, Update().Installed!.Outcome);

        // Without tags too.
        _server.ETag = null;
        Assert.Equal(InstallOutcome.AlreadyActive, Update().Installed!.Outcome);
    }

    [Fact]
    public void What_breaks_off_is_resumed_in_the_same_update_and_in_the_next()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(1));
        foreach (int at in (int[])[100_000, 0, 50_000, 1])
        {
            _server.Breaks.Enqueue(at);
        }

        Refused("127.0.0.1");
        Assert.Equal(150_001, new FileInfo(Assert.Single(Directory.GetFiles(Downloads, "*.part"))).Length);
        Assert.Equal(InstallOutcome.Activated, Update().Installed!.Outcome);
        Assert.Contains("Range: bytes=150001-", _server.Requests.Last(), StringComparison.OrdinalIgnoreCase);
        Assert.Contains("If-Range: \"one\"", _server.Requests.Last(), StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void What_changed_meanwhile_is_fetched_anew()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(1));
        Enumerable.Repeat(40_000, 4).ToList().ForEach(_server.Breaks.Enqueue);
        Refused("127.0.0.1");
        _server.Content = File.ReadAllBytes(_kit.Bundle(2));
        _server.ETag = "\"two\"";
        Assert.Equal(2, Update().Installed!.Manifest.Version);

        // A server that mixes two bundles is found out, and what came is not gone on with.
        byte[] three = File.ReadAllBytes(_kit.Bundle(3));
        byte[] mixed = [.. three[..60_000], .. File.ReadAllBytes(_kit.Bundle(4))[60_000..]];
        mixed[^20_000] ^= 1;
        _server.Content = mixed;
        _server.ETag = "\"three\"";
        Refused("");
        Assert.Empty(Directory.GetFiles(Downloads, "*.part"));
        _server.Content = three;
        Assert.Equal(3, Update().Installed!.Manifest.Version);
    }

    [Fact]
    public void Too_large_a_bundle_is_refused_before_and_while_it_comes()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(1));
        Refused("larger than 1000 bytes", most: 1000);
        _server.Lie = _ => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + new string('x', 5000);
        Refused("larger than 1000 bytes", most: 1000);
        Assert.Empty(Directory.GetFiles(Downloads, "*.part"));
    }

    [Theory]
    [InlineData("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde", "broke off")]
    [InlineData("HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", "304")]
    [InlineData("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "anew")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", "packs")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "cut short")]
    [InlineData("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "403")]
    [InlineData("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "302")]
    [InlineData("garbage\r\n\r\n", "127.0.0.1")]
    public void A_server_that_answers_nonsense_changes_nothing(string answer, string text)
    {
        _server.Lie = _ => answer;
        Refused(text);
    }

    [Fact]
    public void A_proxy_tunnels_and_an_unknown_authority_is_refused()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(1));
        using var proxyKeys = new Scratch();
        using var proxy = new HttpsServer(proxyKeys);
        Assert.Equal(InstallOutcome.Activated, Update(Source with { Proxy = $"http://127.0.0.1:{proxy.Port}" }).Installed!.Outcome);
        Assert.Equal($"127.0.0.1:{_server.Port}", Assert.Single(proxy.Tunnels));
        Refused("certificate", Source with { Ca = null });
        Refused("certificate", Source with { Ca = proxy.Ca });
        Refused("no certificate", Source with { Ca = _kit["key.pem"] });
        Refused("gone.pem", Source with { Ca = _kit["gone.pem"] });
        Refused("no proxy", Source with { Proxy = "http://user:secret@127.0.0.1:1" });
        Refused("https://", Source with { From = _server.Url.Replace("https", "http", StringComparison.Ordinal) });
        Refused("https://", Source with { From = "https://user:secret@127.0.0.1/x" });
        Refused("https://", Source with { From = "ftp://127.0.0.1/x" });
    }

    [Fact]
    public void A_bundle_that_must_not_become_active_does_not_and_the_message_names_where_it_came_from()
    {
        _server.Content = File.ReadAllBytes(_kit.Bundle(5));
        Update();
        _server.ETag = "\"next\"";
        _server.Content = File.ReadAllBytes(_kit.Bundle(4));
        Assert.Contains(_server.Url, Refused("older than version 5"), StringComparison.Ordinal);
        using (var stranger = new PublisherKit())
        {
            stranger.Rule("rule a { condition: true }");
            _server.Content = File.ReadAllBytes(stranger.Bundle(9));
            Refused("signed by none of the trusted publishers");
        }

        _server.Content = File.ReadAllBytes(_kit.Bundle(9, expires: TimeProvider.System.GetUtcNow().AddSeconds(-5)));
        Refused("expired");
        _kit.Rule("rule b { condition: nothing.known }");
        _server.Content = File.ReadAllBytes(_kit.Bundle(9, counted: p => p with { Count = 1 }));
        Refused("rules/a.yar:1: rule b");
        _server.Content = null;
        Refused("404");
    }

    [Fact]
    public void A_folder_offers_its_highest_version_and_a_second_source_stands_in_for_the_first()
    {
        Directory.CreateDirectory(_kit["mirror"]);
        _kit.Bundle(1, file: _kit["mirror/z.vmbundle"]);
        _kit.Bundle(3, file: _kit["mirror/a.vmbundle"]);
        _kit.Bundle(2, file: _kit["mirror/b.vmbundle"]);
        File.WriteAllText(_kit["mirror/broken.vmbundle"], "no bundle");
        File.WriteAllText(_kit["mirror/readme.txt"], "x");
        UpdateResult result = _kit.Update().Run([Source with { From = "https://127.0.0.1:1/" }, new UpdateSource { From = _kit["none"] }, new UpdateSource { From = _kit["mirror"] }]);
        Assert.Equal((3, _kit["mirror"]), (result.Installed!.Manifest.Version, result.From));
        Assert.Equal(InstallOutcome.AlreadyActive, Update(new UpdateSource { From = _kit["mirror"] }).Installed!.Outcome);
        Assert.Equal(InstallOutcome.AlreadyActive, Update(new UpdateSource { From = _kit["mirror/a.vmbundle"] }).Installed!.Outcome);
        Directory.CreateDirectory(_kit["empty"]);
        Refused("no bundle of the name acme", new UpdateSource { From = _kit["empty"] });
    }

    [Fact]
    public void Sources_are_read_strictly()
    {
        string folder = Path.Combine(_kit.State, "signatures");
        Assert.Contains("no source is configured", Assert.Throws<BundleException>(() => UpdateSources.Read(folder)).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "sources.json"), """{ "schema": "vmsweep.sources/1", "sources": [ { "from": "https://a/b", "ca": "/ca.pem" }, { "from": "/mnt/x" } ] }""");
        Assert.Equal([true, false], UpdateSources.Read(folder).Select(s => s.IsRemote));
        foreach (string text in (string[])["", "{}", """{ "schema": "vmsweep.sources/1", "sources": [] }""", """{ "schema": "vmsweep.sources/1", "sources": [ { "url": "x" } ] }""", """{ "schema": "vmsweep.sources/1", "sources": [ { "from": null } ] }"""])
        {
            File.WriteAllText(Path.Combine(folder, "sources.json"), text);
            Assert.Contains("sources.json", Assert.Throws<BundleException>(() => UpdateSources.Read(folder)).Message, StringComparison.Ordinal);
        }

    }
}
