# Makes a role with exactly what vmsweep uses on a vCenter, and gives it to an account. For PowerCLI:
#   Connect-VIServer vcenter.example.org
#   ./vsphere-role.ps1 -Account 'EXAMPLE\vmsweep' [-Acts] [-Changes] [-Exports] [-HotAdd]
param(
    [Parameter(Mandatory)] [string] $Account,
    [string] $Role = 'vmsweep',
    [switch] $Acts,     # what "vmsweep scan --act" may do to a VM with a finding
    [switch] $Exports,  # disks of vSAN and vVol datastores, with "spool"
    [switch] $HotAdd,   # disks of snapshots attached to the appliance's own VM, with "hotadd" among the "ways"
    [switch] $Changes   # allocated and changed areas of disks
)
$privileges = @(
    'Sessions.ValidateSession',
    'Datastore.Browse',
    'Datastore.FileManagement',
    'VirtualMachine.State.CreateSnapshot',
    'VirtualMachine.State.RemoveSnapshot'
)
if ($Acts) {
    $privileges += @(
        'VirtualMachine.Config.Annotation',
        'VirtualMachine.Config.EditDevice',
        'VirtualMachine.Interact.DeviceConnection',
        'VirtualMachine.Interact.Suspend',
        'InventoryService.Tagging.AttachTag',
        'InventoryService.Tagging.CreateCategory',
        'InventoryService.Tagging.CreateTag'
    )
    # Known from 7.0 on.
    $privileges += (Get-VIPrivilege -Id 'InventoryService.Tagging.ObjectAttachable' -ErrorAction SilentlyContinue).Id | Where-Object { $_ }
}
if ($Exports) {
    $privileges += 'VApp.Export'
}
if ($HotAdd) {
    # Used on the appliance's own VM alone: they may as well be given there, in a role of their own.
    $privileges += @(
        'VirtualMachine.Config.AddExistingDisk',
        'VirtualMachine.Config.RemoveDisk'
    )
}
if ($Changes) {
    $privileges += 'VirtualMachine.Provisioning.DiskRandomRead'
}
# System.Anonymous, System.View and System.Read are part of every role.
$made = New-VIRole -Name $Role -Privilege (Get-VIPrivilege -Id $privileges)
New-VIPermission -Entity (Get-Folder -NoRecursion) -Principal $Account -Role $made -Propagate:$true
