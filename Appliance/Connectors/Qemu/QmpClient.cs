using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmsweep.Appliance.Connectors.Qemu;

/// <summary>QEMU's machine protocol on a Unix socket, for a few commands: a monitor serves one client at a time. Spec: qemu docs/interop/qmp-spec.</summary>
internal sealed class QmpClient : IDisposable
{
    private const int MostLineBytes = 64 << 20;

    private static readonly TimeSpan MostWait = TimeSpan.FromSeconds(30);

    private readonly string _path;
    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly byte[] _buffer = new byte[64 << 10];
    private int _from, _to;

    private QmpClient(string path, Socket socket, TimeSpan wait)
    {
        _path = path;
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true) { ReadTimeout = (int)wait.TotalMilliseconds, WriteTimeout = (int)wait.TotalMilliseconds };
    }

    /// <param name="wait">At most, for each answer; null for half a minute.</param>
    /// <exception cref="QemuGoneException">No process listens there any more.</exception>
    /// <exception cref="ConnectorException">It cannot be used.</exception>
    public static QmpClient Open(string path, TimeSpan? wait = null)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket.Dispose();
            // Below a folder that may not be entered nothing seems to be.
            bool isGone = e is SocketException { SocketErrorCode: SocketError.ConnectionRefused } || (e is not SocketException { SocketErrorCode: SocketError.AccessDenied } && !File.Exists(path));
            throw isGone ? new QemuGoneException($"{path}: no QEMU listens there: {e.Message}") : new ConnectorException($"{path}: {e.Message}", e);
        }

        var client = new QmpClient(path, socket, wait ?? MostWait);
        try
        {
            if (client.Next()["QMP"] is null)
            {
                throw new ConnectorException($"{path}: no QMP monitor");
            }

            client.Run("qmp_capabilities");
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>The account that QEMU runs as.</summary>
    public (uint User, uint Group) Account
    {
        get
        {
            // getsockopt(SOL_SOCKET, SO_PEERCRED): struct ucred, the listener's.
            Span<byte> credentials = stackalloc byte[12];
            _socket.GetRawSocketOption(1, 17, credentials);
            return (BinaryPrimitives.ReadUInt32LittleEndian(credentials[4..]), BinaryPrimitives.ReadUInt32LittleEndian(credentials[8..]));
        }
    }

    /// <summary>Runs a command and returns what it answers.</summary>
    /// <exception cref="QmpException">QEMU refuses.</exception>
    /// <exception cref="ConnectorException">It went away or speaks something else.</exception>
    public JsonNode? Run(string command, JsonObject? arguments = null)
    {
        var request = new JsonObject { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        try
        {
            _stream.Write(System.Text.Encoding.UTF8.GetBytes(request.ToJsonString() + "\n"));
        }
        catch (IOException e)
        {
            throw new ConnectorException($"{_path}: {e.Message}", e);
        }

        while (true)
        {
            JsonObject answer = Next();
            if (answer["error"] is JsonObject error)
            {
                throw new QmpException($"QEMU: {command}: {error["desc"]}");
            }

            if (answer.TryGetPropertyValue("return", out JsonNode? result))
            {
                return result;
            }
        }
    }

    public void Dispose() => _stream.Dispose();

    private JsonObject Next()
    {
        using var line = new MemoryStream();
        try
        {
            while (true)
            {
                int end = Array.IndexOf(_buffer, (byte)'\n', _from, _to - _from);
                line.Write(_buffer, _from, (end < 0 ? _to : end) - _from);
                _from = end < 0 ? _to : end + 1;
                if (end >= 0)
                {
                    return JsonNode.Parse(line.ToArray(), documentOptions: new JsonDocumentOptions { MaxDepth = 256 }) as JsonObject ?? throw new ConnectorException($"{_path}: no QMP");
                }

                if (line.Length > MostLineBytes)
                {
                    throw new ConnectorException($"{_path}: an answer beyond {MostLineBytes} bytes");
                }

                int got = _stream.Read(_buffer);
                (_from, _to) = got > 0 ? (0, got) : throw new ConnectorException($"{_path}: QEMU went away") { IsLost = true };
            }
        }
        catch (JsonException e)
        {
            throw new ConnectorException($"{_path}: no QMP: {e.Message}", e);
        }
        catch (IOException e) when (e is not ConnectorException)
        {
            throw new ConnectorException($"{_path}: no answer; perhaps another program holds this monitor ({e.Message})", e);
        }
    }
}

/// <summary>QEMU refuses a command.</summary>
internal sealed class QmpException(string message) : IOException(message);

/// <summary>The process is gone, and with it all that it held.</summary>
internal sealed class QemuGoneException(string message) : IOException(message);
