using System.Globalization;
using System.Net;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.Views;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Disks of a snapshot as streams, for datastores without files: a lease of the server's hands out an address for each, which sends the disk as a
/// streamOptimized VMDK from its beginning to its end. Spooled, because a stream has no ranges; never more than the operator allows.
/// Spec: vSphere Web Services SDK, HttpNfcLease.
/// </summary>
/// <param name="folder">Where the streams are written.</param>
internal sealed class SnapshotExport(VSphereConnector connector, string folder)
{
    /// <summary>A lease ends after five minutes without a word.</summary>
    private static readonly TimeSpan ProgressEvery = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan MostBegin = TimeSpan.FromMinutes(5);

    private readonly StreamSpool _spool = new(connector.Settings);
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
        using HttpsHost? other = isConnected ? null : new HttpsHost(new Uri(uri, "/"), connector.Settings, device.Text("sslThumbprint"));
        HttpsHost http = other ?? connector.Session.Http;
        using var request = new HttpRequestMessage(HttpMethod.Get, uri);
        request.Headers.TryAddWithoutValidation("Cookie", isConnected ? connector.Session.Cookie() : null);
        using HttpResponseMessage response = http.Send(request, CancellationToken.None);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            throw new IOException($"the export answers {(int)response.StatusCode}");
        }

        long length = response.Content.Headers.ContentLength ?? -1;
        System.IO.Stream body = response.Content.ReadAsStream();
        long got = _spool.Write(path, buffer => http.ReadSome(body, buffer, Environment.TickCount64, CancellationToken.None), isSparse: false, -1, () => Tell(lease));
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
