using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.Views;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// Disks of a snapshot as streams over HTTPS: raw, from beginning to end, spooled with its zeros left out. A master that cannot see the disk sends on to a
/// host that can; that is asked if it is one of the pool's, by the certificate that the pool tells of it. Spec: Xen management API, "VM import/export".
/// </summary>
internal sealed class VdiExport(XenConnector connector)
{
    private const int MostAttempts = 2;

    private readonly StreamSpool _spool = new(connector.Settings);

    /// <exception cref="IOException">It cannot be had whole, or is too much.</exception>
    public void Fetch(XenDisk disk, string path)
    {
        for (int attempt = 1; ; attempt++)
        {
            string session = connector.Session.Reference();
            try
            {
                Fetch(disk, path, session);
                return;
            }
            catch (ExpiredException) when (attempt < MostAttempts)
            {
                connector.Session.Reference(session);
            }
            catch (BrokenException) when (attempt < MostAttempts)
            {
                File.Delete(path);
            }
        }
    }

    private void Fetch(XenDisk disk, string path, string session)
    {
        HttpsHost master = connector.Session.Http;
        var address = new Uri(master.Address, $"/export_raw_vdi?session_id={Uri.EscapeDataString(session)}&vdi={Uri.EscapeDataString(disk.Uuid)}&format=raw");
        using HttpResponseMessage first = Get(master, address);
        if (first.StatusCode is HttpStatusCode.Found or HttpStatusCode.Redirect && first.Headers.Location is { } location)
        {
            using HttpsHost other = HostOf(location);
            using HttpResponseMessage second = Get(other, new Uri(other.Address, address.PathAndQuery));
            Write(other, second, disk, path);
            return;
        }

        Write(master, first, disk, path);
    }

    private static HttpResponseMessage Get(HttpsHost host, Uri address)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        return host.Send(request, CancellationToken.None);
    }

    private void Write(HttpsHost host, HttpResponseMessage response, XenDisk disk, string path)
    {
        switch (response.StatusCode)
        {
            case HttpStatusCode.OK:
                break;
            case HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden:
                throw new ExpiredException($"the export answers {(int)response.StatusCode}");
            default:
                throw new IOException($"the export answers {(int)response.StatusCode}");
        }

        Stream body = response.Content.ReadAsStream();
        long got = _spool.Write(path, Next, isSparse: true, disk.SizeBytes, () => { });
        if (got != disk.SizeBytes)
        {
            throw new BrokenException($"the stream ends after {got} of {disk.SizeBytes} bytes");
        }

        int Next(Span<byte> buffer)
        {
            try
            {
                return host.ReadSome(body, buffer, Environment.TickCount64, CancellationToken.None);
            }
            catch (IOException e)
            {
                throw new BrokenException(e.Message);
            }
        }
    }

    /// <summary>A host that the master names, if it is one of the pool's.</summary>
    private HttpsHost HostOf(Uri location)
    {
        foreach ((string reference, XapiRecord host) in connector.Session.Table("host"))
        {
            if (location.Scheme == Uri.UriSchemeHttps && host.Text("address") == location.Host.Trim('[', ']'))
            {
                ConnectorSettings settings = connector.Settings with { PinnedCertificate = connector.Settings.Hosts.GetValueOrDefault(host.Text("address")) ?? CertificateOf(reference) };
                return new HttpsHost(new Uri(location, "/"), settings);
            }
        }

        throw new IOException($"the master sends on to {location.GetLeftPart(UriPartial.Authority)}, which is none of the pool's hosts; nothing was sent to it");
    }

    private string CertificateOf(string host)
    {
        try
        {
            using X509Certificate2 certificate = X509Certificate2.CreateFromPem(XapiRecord.TextOf(connector.Session.Ask("host.get_server_certificate", host)));
            return Convert.ToHexString(SHA256.HashData(certificate.RawData));
        }
        catch (CryptographicException e)
        {
            throw new IOException("the pool tells no certificate of the host that exports the disk", e);
        }
    }

    /// <summary>The session is not taken any more.</summary>
    private sealed class ExpiredException(string message) : IOException(message);

    /// <summary>The stream ended before its end.</summary>
    private sealed class BrokenException(string message) : IOException(message);
}
