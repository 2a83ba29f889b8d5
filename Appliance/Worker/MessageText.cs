using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Vmsweep.Appliance.Worker;

/// <summary>
/// Jobs and events as JSON objects whose first property says which they are. Written out here and not left to the serializer, which would
/// prepare itself for every kind and everything below it before it reads the first: a tenth of a second on both sides of each worker.
/// </summary>
internal static class MessageText
{
    public static byte[] Of(WorkerJob job) => job switch
    {
        CompileJob m => Write("{\"job\":\"compile\""u8, m, MessageJson.Default.CompileJob),
        CheckPartsJob m => Write("{\"job\":\"check-parts\""u8, m, MessageJson.Default.CheckPartsJob),
        TryRulesJob m => Write("{\"job\":\"try-rules\""u8, m, MessageJson.Default.TryRulesJob),
        ScanJob m => Write("{\"job\":\"scan\""u8, m, MessageJson.Default.ScanJob),
        InfoJob m => Write("{\"job\":\"info\""u8, m, MessageJson.Default.InfoJob),
        ListJob m => Write("{\"job\":\"list\""u8, m, MessageJson.Default.ListJob),
        CatJob m => Write("{\"job\":\"cat\""u8, m, MessageJson.Default.CatJob),
        ReadJob m => Write("{\"job\":\"read\""u8, m, MessageJson.Default.ReadJob),
        _ => throw new InvalidOperationException($"{job.GetType().Name} has no name"),
    };

    public static byte[] Of(WorkerEvent message) => message switch
    {
        DiskEvent m => Write("{\"event\":\"disk\""u8, m, MessageJson.Default.DiskEvent),
        VolumeEvent m => Write("{\"event\":\"volume\""u8, m, MessageJson.Default.VolumeEvent),
        GuestEvent m => Write("{\"event\":\"guest\""u8, m, MessageJson.Default.GuestEvent),
        MemoryEvent m => Write("{\"event\":\"memory\""u8, m, MessageJson.Default.MemoryEvent),
        FindingEvent m => Write("{\"event\":\"finding\""u8, m, MessageJson.Default.FindingEvent),
        GapEvent m => Write("{\"event\":\"gap\""u8, m, MessageJson.Default.GapEvent),
        ProgressEvent m => Write("{\"event\":\"progress\""u8, m, MessageJson.Default.ProgressEvent),
        PaceEvent m => Write("{\"event\":\"pace\""u8, m, MessageJson.Default.PaceEvent),
        EntriesEvent m => Write("{\"event\":\"entries\""u8, m, MessageJson.Default.EntriesEvent),
        CompiledEvent m => Write("{\"event\":\"compiled\""u8, m, MessageJson.Default.CompiledEvent),
        PartsCheckedEvent m => Write("{\"event\":\"parts-checked\""u8, m, MessageJson.Default.PartsCheckedEvent),
        RulesTriedEvent m => Write("{\"event\":\"rules-tried\""u8, m, MessageJson.Default.RulesTriedEvent),
        AskEvent m => Write("{\"event\":\"ask\""u8, m, MessageJson.Default.AskEvent),
        KeepEvent m => Write("{\"event\":\"keep\""u8, m, MessageJson.Default.KeepEvent),
        TracedEvent m => Write("{\"event\":\"traced\""u8, m, MessageJson.Default.TracedEvent),
        DisprovedEvent m => Write("{\"event\":\"disproved\""u8, m, MessageJson.Default.DisprovedEvent),
        SeenEvent m => Write("{\"event\":\"seen\""u8, m, MessageJson.Default.SeenEvent),
        FailedEvent m => Write("{\"event\":\"failed\""u8, m, MessageJson.Default.FailedEvent),
        DoneEvent m => Write("{\"event\":\"done\""u8, m, MessageJson.Default.DoneEvent),
        _ => throw new InvalidOperationException($"{message.GetType().Name} has no name"),
    };

    /// <exception cref="JsonException">The bytes are no JSON, or not of that kind.</exception>
    /// <exception cref="InvalidDataException">They say no kind that is known.</exception>
    public static WorkerJob Job(ReadOnlySpan<byte> json) => Kind(json, "job"u8) switch
    {
        "compile" => Read(json, MessageJson.Default.CompileJob),
        "check-parts" => Read(json, MessageJson.Default.CheckPartsJob),
        "try-rules" => Read(json, MessageJson.Default.TryRulesJob),
        "scan" => Read(json, MessageJson.Default.ScanJob),
        "info" => Read(json, MessageJson.Default.InfoJob),
        "list" => Read(json, MessageJson.Default.ListJob),
        "cat" => Read(json, MessageJson.Default.CatJob),
        "read" => Read(json, MessageJson.Default.ReadJob),
        _ => throw new InvalidDataException("what came is no job"),
    };

    /// <exception cref="JsonException">The bytes are no JSON, or not of that kind.</exception>
    /// <exception cref="InvalidDataException">They say no kind that is known.</exception>
    public static WorkerEvent Event(ReadOnlySpan<byte> json) => Kind(json, "event"u8) switch
    {
        "disk" => Read(json, MessageJson.Default.DiskEvent),
        "volume" => Read(json, MessageJson.Default.VolumeEvent),
        "guest" => Read(json, MessageJson.Default.GuestEvent),
        "memory" => Read(json, MessageJson.Default.MemoryEvent),
        "finding" => Read(json, MessageJson.Default.FindingEvent),
        "gap" => Read(json, MessageJson.Default.GapEvent),
        "progress" => Read(json, MessageJson.Default.ProgressEvent),
        "pace" => Read(json, MessageJson.Default.PaceEvent),
        "entries" => Read(json, MessageJson.Default.EntriesEvent),
        "compiled" => Read(json, MessageJson.Default.CompiledEvent),
        "parts-checked" => Read(json, MessageJson.Default.PartsCheckedEvent),
        "rules-tried" => Read(json, MessageJson.Default.RulesTriedEvent),
        "ask" => Read(json, MessageJson.Default.AskEvent),
        "keep" => Read(json, MessageJson.Default.KeepEvent),
        "traced" => Read(json, MessageJson.Default.TracedEvent),
        "disproved" => Read(json, MessageJson.Default.DisprovedEvent),
        "seen" => Read(json, MessageJson.Default.SeenEvent),
        "failed" => Read(json, MessageJson.Default.FailedEvent),
        "done" => Read(json, MessageJson.Default.DoneEvent),
        _ => throw new InvalidDataException("what came is no event"),
    };

    private static byte[] Write<T>(ReadOnlySpan<byte> kind, T message, JsonTypeInfo<T> type)
    {
        byte[] body = JsonSerializer.SerializeToUtf8Bytes(message, type);
        bool isEmpty = body.Length == 2;
        byte[] whole = new byte[kind.Length + (isEmpty ? 1 : body.Length)];
        kind.CopyTo(whole);
        body.AsSpan(1).CopyTo(whole.AsSpan(whole.Length - (body.Length - 1)));
        if (!isEmpty)
        {
            whole[kind.Length] = (byte)',';
        }

        return whole;
    }

    private static string? Kind(ReadOnlySpan<byte> json, ReadOnlySpan<byte> property)
    {
        var reader = new Utf8JsonReader(json);
        return reader.Read() && reader.TokenType == JsonTokenType.StartObject
            && reader.Read() && reader.TokenType == JsonTokenType.PropertyName && !reader.ValueIsEscaped && reader.ValueSpan.SequenceEqual(property)
            && reader.Read() && reader.TokenType == JsonTokenType.String && !reader.ValueIsEscaped
            ? Encoding.UTF8.GetString(reader.ValueSpan)
            : null;
    }

    private static T Read<T>(ReadOnlySpan<byte> json, JsonTypeInfo<T> type)
        where T : class =>
        JsonSerializer.Deserialize(json, type) ?? throw new InvalidDataException("a message is empty");
}
