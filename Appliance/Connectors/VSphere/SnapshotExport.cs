using System.Globalization;
using System.Net;
using System.Xml.Linq;
using Vmsweep.Appliance.Cli;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Disks of a snapshot as streams, for datastores without files: a lease of the server's hands out an address for each, which sends the disk as a
/// streamOptimized VMDK from its beginning to its end. Spooled, because a stream has no ranges; never more than the operator allows.
/// Spec: vSphere Web Services SDK, HttpNfcLease.
/// </summary>
/// <param name="folder">Where the streams are written.</param>
/// <param name="mostBytes">Of all of them together.</param>
internal sealed class SnapshotExport(VSphereConnector connector, string folder, long mostBytes)
{
    private const int BufferBytes = 1 << 20;

    /// <summary>A lease ends after five minutes without a word.</summary>
    private static readonly TimeSpan ProgressEvery = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan MostBegin = TimeSpan.FromMinutes(5);

    private long _used;
    private long _told;

    /// <summary>Spools some disks of a snapshot.</summary>
    /// <param name="wanted">By their slots.</param>
    /// <returns>A file by slot, or why there is none.</returns>
    public IReadOnlyDictionary<string, (string? Path, string Why)> Fetch(MoRef snapshot, IReadOnlyList<DiskFacts> wanted)
    {
        var fetched = new Dictionary<string, (string?, string)>(StringComparer.Ordinal);
        MoRef lease = MoRef.Of(connector.Session.Do("ExportSnapshot", snapshot).Element("returnval") ?? throw new ConnectorException("no lease for an export"));
        try
        {
            XElement[] devices = [.. Begin(lease).Elements("deviceUrl").Where(d => d.Text("disk") is "true" or "1")];
            foreach (DiskFacts disk in wanted)
            {
                try
                {
                    XElement device = devices.FirstOrDefault(d => VmFacts.SlotOf(d.Text("key")) == disk.Name) ?? throw new IOException("the server exports no such disk");
                    string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{fetched.Count}.vmdk"));
                    Stream(lease, device, path);
                    fetched.Add(disk.Name, (path, ""));
                }
                catch (Exception e) when (e is IOException or InvalidDataException or UnauthorizedAccessException)
                {
                    fetched.Add(disk.Name, (null, e.Message));
                }
            }

            connector.Session.Do("HttpNfcLeaseComplete", lease);
            return fetched;
        }
        catch
        {
            try
            {
                connector.Session.Do("HttpNfcLeaseAbort", lease);
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                // It ends by itself.
                Serilog.Log.Debug("an export was not ended: {Reason}", e.Message);
            }

            throw;
        }
    }

    /// <summary>What the server hands out once it is ready.</summary>
    private XElement Begin(MoRef lease)
    {
        for (long started = Environment.TickCount64; ;)
        {
            VimObject state = connector.Properties.Get(lease, "state", "info", "error");
            switch (state.Text("state"))
            {
                case "ready":
                    return state["info"] ?? throw new ConnectorException("an export without addresses");
                case "error":
                    throw VimFaultException.OfError("ExportSnapshot", new XElement("error", new XElement("fault", state["error"]?.Attributes()), new XElement("localizedMessage", state["error"].Text("localizedMessage"))));
            }

            if (Environment.TickCount64 - started > MostBegin.TotalMilliseconds)
            {
                throw new ConnectorException($"the export does not begin within {MostBegin.TotalMinutes} min");
            }

            Thread.Sleep(200);
        }
    }

    private void Stream(MoRef lease, XElement device, string path)
    {
        // A star stands for the host that is connected.
        string address = device.Text("url").Replace("://*", "://" + connector.Session.Http.Address.Authority, StringComparison.Ordinal);
        if (!Uri.TryCreate(address, UriKind.Absolute, out Uri? uri) || uri.Scheme != "https")
        {
            throw new IOException($"\"{address}\" is no address that a disk is fetched from");
        }

        bool isConnected = uri.Authority == connector.Session.Http.Address.Authority;
        using VimHttp? other = isConnected ? null : new VimHttp(new Uri(uri, "/"), connector.Settings, device.Text("sslThumbprint"));
        VimHttp http = other ?? connector.Session.Http;
        using var request = new HttpRequestMessage(HttpMethod.Get, uri);
        request.Headers.TryAddWithoutValidation("Cookie", isConnected ? connector.Session.Cookie() : null);
        using HttpResponseMessage response = http.Send(request, CancellationToken.None);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw new IOException($"the export answers {(int)response.StatusCode}");
        }

        long length = response.Content.Headers.ContentLength ?? -1, got = 0;
        System.IO.Stream body = response.Content.ReadAsStream();
        byte[] buffer = new byte[BufferBytes];
        using FileStream file = new(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        long started = Environment.TickCount64;
        while (http.ReadSome(body, buffer, Environment.TickCount64, CancellationToken.None) is > 0 and var count)
        {
            got += count;
            if ((_used += count) > mostBytes)
            {
                throw new IOException($"the streams take more than {Sizes.Show(mostBytes)} (\"spoolSize\")");
            }

            if (Environment.TickCount64 - started > connector.Settings.MaximumAge.TotalMilliseconds)
            {
                throw new IOException($"the stream takes longer than {connector.Settings.MaximumAge.TotalHours} hours (\"maximumHours\")");
            }

            file.Write(buffer, 0, count);
            Tell(lease);
        }

        if (length >= 0 && got != length)
        {
            throw new IOException($"the stream ends after {got} of {length} bytes");
        }
    }

    private void Tell(MoRef lease)
    {
        if (Environment.TickCount64 - _told > ProgressEvery.TotalMilliseconds)
        {
            _told = Environment.TickCount64;
            connector.Session.Do("HttpNfcLeaseProgress", lease, new XElement("percent", "50"));
        }
    }
}
