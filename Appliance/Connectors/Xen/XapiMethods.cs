namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>Every method of the API that the connector calls, and what for: the calls are held to this list, and so is what the account is asked to have.</summary>
internal static class XapiMethods
{
    /// <summary>Without them VMs cannot be scanned; names as a session's permissions have them.</summary>
    public static readonly IReadOnlyList<(string Permission, string Why)> Needed =
    [
        ("vm.get_all_records", "to see the inventory"),
        ("vm.snapshot", "to have disks stand still"),
        ("vm.destroy", "to leave no snapshot behind"),
        ("vdi.destroy", "to leave no disk of a snapshot behind"),
        ("vdi.get_nbd_info", "to read disks of snapshots"),
    ];

    /// <summary>Those that only look, and what changes something, by what it is for.</summary>
    public static readonly IReadOnlyDictionary<string, string> All = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["session.login_with_password"] = "",
        ["session.logout"] = "",
        ["session.get_is_local_superuser"] = "",
        ["session.get_rbac_permissions"] = "",
        ["pool.get_all_records"] = "",
        ["host.get_all_records"] = "",
        ["host.get_server_certificate"] = "",
        ["network.get_all_records"] = "",
        ["SR.get_all_records"] = "",
        ["SR.get_record"] = "",
        ["VM.get_all_records"] = "",
        ["VM.get_by_name_label"] = "",
        ["VM.get_by_uuid"] = "",
        ["VM.get_record"] = "",
        ["VM_guest_metrics.get_all_records"] = "",
        ["VBD.get_all_records"] = "",
        ["VBD.get_record"] = "",
        ["VDI.get_all_records"] = "",
        ["VDI.get_by_uuid"] = "",
        ["VDI.get_record"] = "",
        ["VDI.get_nbd_info"] = "",
        ["VDI.list_changed_blocks"] = "",
        ["VIF.get_record"] = "",
        ["task.get_record"] = "",
        ["task.destroy"] = "scans",
        ["Async.VM.snapshot"] = "scans",
        ["Async.VM.snapshot_with_quiesce"] = "\"quiesce\"",
        ["Async.VM.destroy"] = "scans",
        ["Async.VDI.destroy"] = "scans",
        ["Async.VDI.data_destroy"] = "--changed",
        ["Async.VDI.enable_cbt"] = "--changed",
        ["Async.VDI.disable_cbt"] = "--changed",
        ["VM.add_tags"] = "--act tag",
        ["VM.remove_from_other_config"] = "--act annotate",
        ["VM.add_to_other_config"] = "--act annotate",
        ["Async.VM.suspend"] = "--act suspend",
        ["VIF.set_locking_mode"] = "--act disconnect",
        ["VIF.unplug"] = "--act disconnect",
    };
}
