namespace Vmsweep.DiskReaders.Blocks.Nbd;

/// <summary>The connections to one export: as many as the server allows and are of use, opened again when one breaks.</summary>
internal sealed class NbdConnections : IDisposable
{
    /// <summary>After so many broken connections in a row nothing more is tried: a server that always breaks would cost its time-out every time.</summary>
    private const int MostFailures = 3;

    private readonly NbdTransport _transport;
    private readonly string _export;
    private readonly IReadOnlyList<string> _contexts;
    private readonly TimeSpan _timeout;
    private readonly Lock _lock = new();
    private readonly NbdConnection?[] _open;
    private int _failures;
    private bool _isClosed;

    public NbdConnections(NbdTransport transport, string export, IReadOnlyList<string> contexts, TimeSpan timeout, int most)
    {
        _transport = transport;
        _export = export;
        _contexts = contexts;
        _timeout = timeout;
        NbdConnection first = NbdConnection.Open(transport, export, contexts, timeout);
        Agreement = first.Agreement;
        _open = new NbdConnection?[Agreement.CanMultiConn ? Math.Max(1, most) : 1];
        _open[0] = first;
    }

    public NbdAgreement Agreement { get; }

    /// <summary>What requests for bytes pass, and the file that they name there; null where nothing holds back.</summary>
    public (IReadGate To, int File)? Gate { get; init; }

    /// <summary>Sends to the connection that has least to do. The request is completed in any case.</summary>
    public NbdConnection? Send(NbdRequest request)
    {
        NbdConnection connection;
        if (Gate is { } gate && request.Command == NbdProtocol.CmdRead)
        {
            gate.To.Enter(gate.File, request.Length);
            request.Gate = gate;
        }

        try
        {
            connection = Idlest();
        }
        catch (IOException e)
        {
            request.Fail(e);
            request.Complete();
            return null;
        }

        connection.Send(request);
        return connection;
    }

    /// <summary>Waits for a request, and throws what became of it.</summary>
    /// <exception cref="IOException">The server failed, or was silent for too long.</exception>
    public void Wait(NbdRequest request, NbdConnection? connection)
    {
        if (!request.Wait(_timeout))
        {
            connection?.Break(FormattableString.Invariant($"no answer for {_timeout.TotalSeconds} s"));
            request.Wait();
        }

        if (request.Failure is { } failure)
        {
            if (request.IsBroken)
            {
                Interlocked.Increment(ref _failures);
            }

            throw new IOException(failure.Message, failure);
        }

        Volatile.Write(ref _failures, 0);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _isClosed = true;
            foreach (NbdConnection? connection in _open)
            {
                connection?.Dispose();
            }
        }
    }

    private NbdConnection Idlest()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            int at = 0;
            for (int i = 0; i < _open.Length; i++)
            {
                if (_open[i] is not { IsBroken: false } connection)
                {
                    at = i;
                    break;
                }

                at = connection.InFlight < _open[at]!.InFlight ? i : at;
            }

            if (_open[at] is { IsBroken: false } idlest)
            {
                return idlest;
            }

            if (Volatile.Read(ref _failures) >= MostFailures)
            {
                throw new IOException($"{_transport.Name}: the server failed {MostFailures} times in a row");
            }

            try
            {
                _open[at]?.Dispose();
                _open[at] = null;
                NbdConnection again = NbdConnection.Open(_transport, _export, _contexts, _timeout);
                if (again.Agreement.SizeBytes != Agreement.SizeBytes || again.Agreement.SmallestBlock != Agreement.SmallestBlock || again.Agreement.IsStructured != Agreement.IsStructured)
                {
                    again.Dispose();
                    throw new IOException($"{_transport.Name}: the export is another one than before");
                }

                return _open[at] = again;
            }
            catch (IOException) when (Array.Find(_open, c => c is { IsBroken: false }) is { } other)
            {
                // Fewer connections than the server promised still read.
                Interlocked.Increment(ref _failures);
                return other;
            }
            catch (IOException)
            {
                Interlocked.Increment(ref _failures);
                throw;
            }
        }
    }
}
