using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Serilog;
using Vmsweep.Appliance.Connectors.Nbd;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Nbd;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// A disk of a snapshot as a host of the pool serves it by NBD, always with TLS and the very certificate that the pool names, because the export's name holds
/// the session. A session that ended, or a host that went away, is asked for again. Spec: Xen management API, <c>VDI.get_nbd_info</c>.
/// </summary>
internal sealed class VdiSource : IBlockSource
{
    private const long BudgetBytes = 64 << 20;
    private const int MostAttempts = 3;

    /// <summary>Over the whole of a disk: a server that fails again and again is not worth more.</summary>
    private const int MostRenewals = 32;

    private readonly XapiSession _session;
    private readonly XenDisk _disk;
    private readonly Lock _lock = new();
    private Opened _opened;
    private int _renewals;
    private volatile bool _isEnded;

    /// <exception cref="NotServedException">The pool serves it nowhere.</exception>
    /// <exception cref="IOException">It cannot be reached.</exception>
    public VdiSource(XapiSession session, XenDisk disk)
    {
        _session = session;
        _disk = disk;
        _opened = new Opened(Connect());
        Length = _opened.Source.Length;
        if (Length < disk.SizeBytes)
        {
            Dispose();
            throw new IOException($"the server exports {Length} of the disk's {disk.SizeBytes} bytes");
        }
    }

    public long Length { get; }

    public void Read(long offset, Span<byte> destination)
    {
        for (int attempt = 1; ; attempt++)
        {
            Opened opened = Enter();
            try
            {
                opened.Source.Read(offset, destination);
                return;
            }
            catch (IOException e) when (attempt < MostAttempts && !_isEnded)
            {
                Log.Information("{Disk}: {Reason}; the pool is asked again where it is served", _disk.Path, e.Message);
                Renew(opened);
            }
            finally
            {
                Leave(opened);
            }
        }
    }

    public StoredExtent Locate(long offset, long count)
    {
        Opened opened = Enter();
        try
        {
            return opened.Source.Locate(offset, count);
        }
        finally
        {
            Leave(opened);
        }
    }

    /// <summary>Nothing is tried again any more.</summary>
    public void End() => _isEnded = true;

    /// <summary>When nobody reads any more.</summary>
    public void Dispose()
    {
        End();
        _opened.Source.Dispose();
    }

    private NbdSource Connect()
    {
        JsonElement places = _session.Ask("VDI.get_nbd_info", _disk.Reference);
        List<IOException> failed = [];
        foreach (JsonElement place in places.ValueKind == JsonValueKind.Array ? places.EnumerateArray() : default)
        {
            try
            {
                return Connect(new XapiRecord(place));
            }
            catch (IOException e)
            {
                // The export's name is as good as a password while the session lives, and stands in no report.
                string export = new XapiRecord(place).Text("exportname");
                failed.Add(export.Length > 0 ? new IOException(e.Message.Replace(export, _disk.Uuid, StringComparison.Ordinal), e.InnerException) : e);
            }
        }

        throw failed.Count > 0 ? new IOException(failed[^1].Message, failed[^1])
            : new NotServedException("the pool serves no disk by NBD: no network that its hosts have is for that (xe network-param-add uuid=NETWORK param-name=purpose param-key=nbd)");
    }

    private static NbdSource Connect(XapiRecord place)
    {
        string pin;
        try
        {
            using X509Certificate2 certificate = X509Certificate2.CreateFromPem(place.Text("cert"));
            pin = Convert.ToHexString(SHA256.HashData(certificate.RawData));
        }
        catch (CryptographicException e)
        {
            throw new IOException($"the pool tells no certificate of its NBD server {place.Text("address")}", e);
        }

        if (place.Number("port") is not (> 0 and <= ushort.MaxValue and var port) || Uri.CheckHostName(place.Text("address")) == UriHostNameType.Unknown)
        {
            throw new IOException($"\"{place.Text("address")}\", port {place.Text("port").ToString(CultureInfo.InvariantCulture)}, is no address of an NBD server");
        }

        return NbdSource.Open(NbdTls.Transport(place.Text("address"), (int)port, pin, null, null), place.Text("exportname"), new ScanBudget(BudgetBytes));
    }

    private Opened Enter()
    {
        lock (_lock)
        {
            _opened.Readers++;
            return _opened;
        }
    }

    private void Leave(Opened opened)
    {
        bool isLast;
        lock (_lock)
        {
            isLast = --opened.Readers == 0 && opened != _opened;
        }

        if (isLast)
        {
            opened.Source.Dispose();
        }
    }

    /// <summary>Opens it anew, unless another reader has done so.</summary>
    private void Renew(Opened failed)
    {
        lock (_lock)
        {
            if (_opened != failed)
            {
                return;
            }

            if (++_renewals > MostRenewals)
            {
                throw new IOException($"the server failed {MostRenewals} times");
            }

            NbdSource renewed = Connect();
            if (renewed.Length != Length)
            {
                renewed.Dispose();
                throw new IOException($"the server exports {renewed.Length} bytes, and exported {Length}");
            }

            // The last reader of the old one closes it.
            _opened = new Opened(renewed);
        }
    }

    private sealed class Opened(NbdSource source)
    {
        public NbdSource Source => source;

        public int Readers { get; set; }
    }

    /// <summary>No network of the pool is for NBD.</summary>
    internal sealed class NotServedException(string message) : IOException(message);
}
