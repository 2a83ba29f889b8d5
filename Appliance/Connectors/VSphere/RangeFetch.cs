using System.Globalization;
using System.Net;
using System.Net.Http.Headers;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Ranges of a datastore's files over a host's <c>/folder</c>. Spec: vSphere Web Services SDK Programming Guide, "Accessing Datastore Files"; RFC 9110,
/// section 14. An answer is taken when it is exactly the range that was asked for; anything else is tried again, and then a fault of the transport.
/// </summary>
/// <param name="datacenter">Path of the datacenter in the inventory.</param>
internal sealed class RangeFetch(VimSession session, string datacenter)
{
    private const int MostAttempts = 4;

    /// <summary>No further attempt is begun later: a worker waits for the answer.</summary>
    private static readonly TimeSpan MostTime = TimeSpan.FromSeconds(60);

    /// <summary>Length of a file, by a range of one byte: some hosts say nothing of length otherwise.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public long Length(DatastorePath path, CancellationToken cancellation)
    {
        return Get(path, 0, [new byte[1]], -1, cancellation);
    }

    /// <summary>Fills buffers, one after the other, with the bytes from an offset on.</summary>
    /// <param name="length">Of the file, which must not change; -1: not known yet.</param>
    /// <returns>The file's length.</returns>
    /// <exception cref="IOException">They cannot be had.</exception>
    public long Get(DatastorePath path, long from, IReadOnlyList<Memory<byte>> destination, long length, CancellationToken cancellation)
    {
        string address = $"/folder/{string.Join('/', path.Path.Split('/').Select(Uri.EscapeDataString))}?dcPath={Uri.EscapeDataString(datacenter)}&dsName={Uri.EscapeDataString(path.Datastore)}";
        long started = Environment.TickCount64;
        for (int attempt = 1, logIns = 0; ;)
        {
            string cookie = session.Cookie();
            Outcome outcome;
            string why;
            TimeSpan? asked = null;
            using (session.Gate.Enter(cancellation))
            {
                try
                {
                    (outcome, why, asked, long whole) = Once(address, cookie, from, destination, length, cancellation);
                    if (outcome == Outcome.Done)
                    {
                        session.Gate.Accepted();
                        return whole;
                    }
                }
                catch (IOException e) when (e is not ConnectorException)
                {
                    (outcome, why) = (Outcome.Again, e.Message);
                }
            }

            bool isLate = Environment.TickCount64 - started > MostTime.TotalMilliseconds;
            if (outcome == Outcome.Busy && !isLate)
            {
                session.Gate.Refused(asked);
            }
            else if (outcome == Outcome.LogIn && ++logIns < MostAttempts)
            {
                session.Cookie(refused: cookie);
            }
            else if (outcome == Outcome.Again && !isLate && ++attempt <= MostAttempts)
            {
                if (cancellation.WaitHandle.WaitOne(100 << attempt))
                {
                    cancellation.ThrowIfCancellationRequested();
                }
            }
            else
            {
                throw new IOException($"{path}: {why}");
            }
        }
    }

    private enum Outcome
    {
        Done,
        Again,
        Busy,
        LogIn,
        Never,
    }

    private (Outcome Outcome, string Why, TimeSpan? Asked, long Length) Once(string address, string cookie, long from, IReadOnlyList<Memory<byte>> destination, long length, CancellationToken cancellation)
    {
        long end = from + destination.Sum(d => (long)d.Length);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(session.Http.Address, address));
        request.Headers.Range = new RangeHeaderValue(from, end - 1);
        request.Headers.TryAddWithoutValidation("Cookie", cookie);
        using HttpResponseMessage response = session.Http.Send(request, cancellation);
        switch (response.StatusCode)
        {
            case HttpStatusCode.PartialContent:
                break;
            case HttpStatusCode.OK:
                return (Outcome.Again, "the host answers a range with the whole file", null, 0);
            case HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden:
                return (Outcome.LogIn, $"the host refuses it ({(int)response.StatusCode})", null, 0);
            case HttpStatusCode.NotFound:
                return (Outcome.Never, "it is not there (404)", null, 0);
            case HttpStatusCode.RequestedRangeNotSatisfiable:
                return (Outcome.Never, string.Create(CultureInfo.InvariantCulture, $"it ends before byte {end} (416)"), null, 0);
            case HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests:
                return (Outcome.Busy, $"the host has no room ({(int)response.StatusCode})", response.Headers.RetryAfter?.Delta, 0);
            default:
                return (Outcome.Again, $"the host answers {(int)response.StatusCode}", null, 0);
        }

        if (response.Content.Headers.ContentRange is not { HasRange: true, Unit: "bytes" } range || range.From != from || range.To != end - 1)
        {
            return (Outcome.Again, $"the host answers bytes {from}-{end - 1} with {response.Content.Headers.ContentRange?.ToString() ?? "a range that it does not name"}", null, 0);
        }

        if (range.Length is not { } whole || whole < end || (length >= 0 && whole != length))
        {
            return (Outcome.Again, $"the host says that the file has {range.Length?.ToString(CultureInfo.InvariantCulture) ?? "an unknown number of"} bytes, not {length}", null, 0);
        }

        Stream body = response.Content.ReadAsStream(cancellation);
        using (cancellation.Register(response.Dispose))
        {
            long started = Environment.TickCount64;
            long at = from;
            foreach (Memory<byte> part in destination)
            {
                for (int filled = 0; filled < part.Length;)
                {
                    int got = session.Http.ReadSome(body, part.Span[filled..], started, cancellation);
                    if (got == 0)
                    {
                        return (Outcome.Again, $"the answer ends after {at - from} of {end - from} bytes", null, 0);
                    }

                    filled += got;
                    at += got;
                }
            }

            // Read to its end, so that the connection can be used again.
            Span<byte> more = stackalloc byte[1];
            return session.Http.ReadSome(body, more, started, cancellation) == 0
                ? (Outcome.Done, "", null, whole)
                : (Outcome.Again, "the answer is longer than the range", null, 0);
        }
    }
}
